package injector

import (
	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/iptables"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// Source is the level that set a value.
type Source struct {
	// Level is default, config, namespace, pod or computed.
	Level Level
	// Detail says where on that level, as "namespaces[1] (payments-*)",
	// "annotation pillion.dev/log-level" or what it was computed from.
	Detail string
}

// Level is a place where settings come from; later ones win.
type Level string

// The levels, from the lowest to the highest.
const (
	LevelDefault   Level = "default"
	LevelConfig    Level = "config"
	LevelNamespace Level = "namespace"
	LevelPod       Level = "pod"
	// LevelComputed is for values that follow from others.
	LevelComputed Level = "computed"
)

// Value is one resolved setting, for people to read.
type Value struct {
	// Path in Settings, as "lifecycle.drainTime".
	Path string
	// Text of the value, as "20s".
	Text   string
	Source Source
}

// Port is a reserved port with everything that is known about it.
type Port struct {
	iptables.PortRange
	v1alpha1.ReservedPort
	Source Source
}

// Sidecar is everything resolved for one pod.
type Sidecar struct {
	// Mode is native or classic, never auto.
	Mode v1alpha1.SidecarMode
	// ModeReason says why, in one clause.
	ModeReason string
	// Resources of the envoy container, every value with a request set.
	Resources v1alpha1.Resources
	// Redirect, Run, Wait and Drain are the command lines of the containers.
	Redirect iptables.Redirect
	Run      lifecycle.Run
	Wait     lifecycle.Wait
	Drain    lifecycle.Drain
	// ReservedInbound and ReservedOutbound explain Redirect's reserved ports.
	ReservedInbound, ReservedOutbound []Port
	// Lifecycle policies.
	GracePeriod v1alpha1.GracePeriodPolicy
	AppPreStop  v1alpha1.AppPreStopPolicy
	Probes      v1alpha1.ProbePolicy
	// Values is every resolved setting with the level that set it, in a fixed order.
	Values []Value
}
