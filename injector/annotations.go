package injector

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/iptables"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// AnnotationPrefix is before the name of every annotation of Pillion's.
const AnnotationPrefix = v1alpha1.Group + "/"

// Annotation is one that a pod's owner may use: a row of the one table that
// parsing, suggestions, `pillionctl` and the reference pages come from.
type Annotation struct {
	// Name without AnnotationPrefix.
	Name string
	// Type of the value, for people.
	Type string
	// Path of the setting that it sets, in Settings.
	Path string
	// Doc is one sentence.
	Doc string
	// Example of a value.
	Example string
	// parse puts the value into the settings; an error says what is accepted.
	parse func(i *Injector, s *settings, value string, source Source) error
}

// Annotations is the table, in the order in which it is shown.
func Annotations() []Annotation {
	return []Annotation{
		{"mode", "auto, native or classic", "sidecar.mode",
			"Which kind of container Envoy runs in.", "native", parseMode},
		{"service", "name", "service",
			"The service that the pod belongs to, instead of its app.kubernetes.io/name or app label, or its workload's name " +
				"(for a Job named as a CronJob names it, report-29742960, the part before the minutes).", "checkout", parseService},
		{"reserved-inbound-ports", "list of ports and ranges, 1000 at most", "redirect.inbound.reservedPorts",
			"Ports of the pod that bypass Envoy, added to the reserved ones; !PORT takes a reserved one back.", "9042,7000-7010,!3306", parseReservedInbound},
		{"reserved-outbound-ports", "list of ports and ranges, 1000 at most", "redirect.outbound.reservedPorts",
			"Ports of destinations that bypass Envoy, added to the reserved ones; !PORT takes a reserved one back.", "9042,7000-7010,!3306", parseReservedOutbound},
		{"excluded-cidrs", "list of CIDRs, 1000 at most", "redirect.excludedCIDRs",
			"Destinations that bypass Envoy, added to the excluded ones.", "10.1.0.0/16,fd00::/8", parseExcludedCIDRs},
		{"cpu-request", "quantity", "sidecar.resources.requests.cpu",
			"CPU request of the envoy container.", "250m",
			quantity(func(s *settings) *setting[resource.Quantity] { return &s.cpuRequest }, cpuBounds)},
		{"cpu-limit", "quantity", "sidecar.resources.limits.cpu",
			"CPU limit of the envoy container.", "2",
			quantity(func(s *settings) *setting[resource.Quantity] { return &s.cpuLimit }, cpuBounds)},
		{"memory-request", "quantity", "sidecar.resources.requests.memory",
			"Memory request of the envoy container.", "256Mi",
			quantity(func(s *settings) *setting[resource.Quantity] { return &s.memoryRequest }, memoryBounds)},
		{"memory-limit", "quantity", "sidecar.resources.limits.memory",
			"Memory limit of the envoy container.", "1Gi",
			quantity(func(s *settings) *setting[resource.Quantity] { return &s.memoryLimit }, memoryBounds)},
		{"log-level", strings.Join(v1alpha1.LogLevels(), ", "), "envoy.logLevel",
			"Envoy's log level.", "info", parseLogLevel},
		{"concurrency", "whole number", "envoy.concurrency",
			"Number of Envoy's worker threads; 0 takes it from the container's CPU.", "2", parseConcurrency},
		{"access-log", "Off or JSON", "envoy.accessLog",
			"Whether Envoy writes a line for each request and TCP connection.", "JSON", parseAccessLog},
		{"max-upstream-age", "duration", "envoy.maxUpstreamAge",
			"How old a connection gets that Envoy opened for the app, at most 15/32 of drain-time; 0s for any age.", "2m",
			duration(func(s *settings) *setting[time.Duration] { return &s.upstreamAge }, ageBounds)},
		{"upstream-idle-timeout", "duration", "envoy.upstreamIdleTimeout",
			"How long such a connection lies unused, below the servers' keep-alive; 0s for as long as the server likes.", "1s",
			duration(func(s *settings) *setting[time.Duration] { return &s.upstreamIdle }, ageBounds)},
		{"max-downstream-age", "duration", "envoy.maxDownstreamAge",
			"How old an HTTP connection gets that a client opened to the pod; 0s for any age.", "10m",
			duration(func(s *settings) *setting[time.Duration] { return &s.downstreamAge }, ageBounds)},
		{"pre-drain-delay", "duration", "lifecycle.preDrainDelay",
			"How long a stopping pod goes on serving before it drains.", "45s",
			duration(func(s *settings) *setting[time.Duration] { return &s.preDrainDelay }, func(b *v1alpha1.Bounds) v1alpha1.DurationBounds { return b.PreDrainDelay })},
		{"drain-time", "duration", "lifecycle.drainTime",
			"How long Envoy then tells inbound clients to go elsewhere, at most.", "1m",
			duration(func(s *settings) *setting[time.Duration] { return &s.drainTime }, func(b *v1alpha1.Bounds) v1alpha1.DurationBounds { return b.DrainTime })},
		{"start-timeout", "duration", "lifecycle.startTimeout",
			"How long the sidecar may take to become ready before the pod fails.", "2m",
			duration(func(s *settings) *setting[time.Duration] { return &s.startTimeout }, func(b *v1alpha1.Bounds) v1alpha1.DurationBounds { return b.StartTimeout })},
	}
}

func parseMode(i *Injector, s *settings, value string, source Source) error {
	mode := v1alpha1.SidecarMode(value)
	switch mode {
	case v1alpha1.ModeAuto, v1alpha1.ModeClassic:
	case v1alpha1.ModeNative:
		if !i.cluster.atLeast(nativeSidecarMinor) {
			return fmt.Errorf("native sidecars need Kubernetes 1.%d and the cluster has %s; use classic or auto", nativeSidecarMinor, i.config.KubernetesVersion)
		}
	default:
		return errors.New("must be auto, native or classic")
	}
	s.mode = setting[v1alpha1.SidecarMode]{mode, source}
	return nil
}

func parseService(_ *Injector, s *settings, value string, source Source) error {
	if err := lifecycle.ValidateService(value); err != nil {
		return err
	}
	s.service = setting[string]{value, source}
	return nil
}

func parseReservedInbound(_ *Injector, s *settings, value string, source Source) (err error) {
	s.inbound, err = s.inbound.applyList(value, source)
	return err
}

func parseReservedOutbound(_ *Injector, s *settings, value string, source Source) (err error) {
	s.outbound, err = s.outbound.applyList(value, source)
	return err
}

func parseExcludedCIDRs(_ *Injector, s *settings, value string, source Source) error {
	items, err := splitList(value)
	if err != nil {
		return err
	}
	// The list may be shared with the settings of every other pod.
	s.excludedCIDRs = slices.Clip(s.excludedCIDRs)
	for _, item := range items {
		prefix, err := iptables.ParsePrefix(item)
		if err != nil {
			return err
		}
		s.excludedCIDRs = append(s.excludedCIDRs, setting[netip.Prefix]{prefix, source})
	}
	return nil
}

// longestList bounds the work for one annotation, and the length of the argument
// that it becomes: Linux executes nothing with one above 128 KiB.
const longestList = 1000

func splitList(value string) ([]string, error) {
	if n := strings.Count(value, ",") + 1; n > longestList {
		return nil, fmt.Errorf("must have at most %d items, and has %d", longestList, n)
	}
	return strings.Split(value, ","), nil
}

func parseLogLevel(_ *Injector, s *settings, value string, source Source) error {
	if levels := v1alpha1.LogLevels(); !slices.Contains(levels, value) {
		return fmt.Errorf("must be one of %s", strings.Join(levels, ", "))
	}
	s.logLevel = setting[string]{value, source}
	return nil
}

func parseAccessLog(_ *Injector, s *settings, value string, source Source) error {
	accepted := v1alpha1.Accepted("envoy.accessLog")
	if !slices.Contains(accepted, value) {
		return fmt.Errorf("must be one of %s", strings.Join(accepted, ", "))
	}
	s.accessLog = setting[v1alpha1.AccessLog]{v1alpha1.AccessLog(value), source}
	return nil
}

func ageBounds(b *v1alpha1.Bounds) v1alpha1.DurationBounds { return b.ConnectionAge }

func parseConcurrency(i *Injector, s *settings, value string, source Source) error {
	most := i.config.Annotations.Bounds.MaxConcurrency
	n, err := strconv.ParseInt(value, 10, 32)
	// The round trip refuses "+2" and "02", which ParseInt takes.
	if err != nil || n < 0 || n > int64(most) || strconv.FormatInt(n, 10) != value {
		return fmt.Errorf("must be a whole number from 0 to %d", most)
	}
	s.concurrency = setting[int32]{int32(n), source}
	return nil
}

func cpuBounds(b *v1alpha1.Bounds) v1alpha1.QuantityBounds    { return b.CPU }
func memoryBounds(b *v1alpha1.Bounds) v1alpha1.QuantityBounds { return b.Memory }

func quantity(field func(*settings) *setting[resource.Quantity], bounds func(*v1alpha1.Bounds) v1alpha1.QuantityBounds) func(*Injector, *settings, string, Source) error {
	return func(i *Injector, s *settings, value string, source Source) error {
		b := bounds(&i.config.Annotations.Bounds)
		q, err := v1alpha1.ParseQuantity(value)
		if err != nil || q.Cmp(*b.Min) < 0 || q.Cmp(*b.Max) > 0 {
			return fmt.Errorf("must be a quantity from %s to %s", b.Min, b.Max)
		}
		*field(s) = setting[resource.Quantity]{q, source}
		return nil
	}
}

func duration(field func(*settings) *setting[time.Duration], bounds func(*v1alpha1.Bounds) v1alpha1.DurationBounds) func(*Injector, *settings, string, Source) error {
	return func(i *Injector, s *settings, value string, source Source) error {
		b := bounds(&i.config.Annotations.Bounds)
		d, err := time.ParseDuration(value)
		if err != nil || d < b.Min.Duration || d > b.Max.Duration || d%time.Second != 0 {
			return fmt.Errorf("must be a duration in whole seconds from %s to %s, as 30s or 1m30s", text(b.Min), text(b.Max))
		}
		*field(s) = setting[time.Duration]{d, source}
		return nil
	}
}

func text(d *metav1.Duration) string { return durationText(d.Duration) }

// durationText is a duration without the zero parts that Go writes: 1m, not 1m0s.
func durationText(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
