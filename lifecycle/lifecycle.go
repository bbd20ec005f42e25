// Package lifecycle is the contract between the webhook and pillion-proxy: how
// the sidecar of one pod runs, when it counts as started, and how it stops.
//
// Each type is one pillion-proxy command. The webhook writes it as the
// container's command line (Args), pillion-proxy reads it back (ParseRun and so on).
//
// This package is pure. It imports the standard library, and argv of this module.
package lifecycle

import "time"

// Run is `pillion-proxy run`: it writes the bootstrap and supervises Envoy.
type Run struct {
	// Service is the identity of the service that the pod belongs to.
	Service string
	// InboundPort and OutboundPort take redirected connections, StatusPort serves
	// /healthz, /readyz and /metrics.
	InboundPort, OutboundPort, StatusPort uint16
	// Concurrency is the number of Envoy's worker threads, 1 or more.
	Concurrency int
	// MemoryLimit of the container in bytes, 0 for none: what Envoy's overload
	// manager keeps below.
	MemoryLimit int64
	// LogLevel is one of Envoy's.
	LogLevel string
	// DrainTime is Envoy's --drain-time-s, in whole seconds.
	DrainTime time.Duration
	// IPv6 says whether listeners take IPv6 connections too.
	IPv6 bool
	// UpstreamAge is how old a connection that Envoy opened may get, and UpstreamIdle
	// how long one for other pods may lie unused. DownstreamAge is the same for
	// HTTP connections that clients opened to the pod: it is the longer one, so that
	// between two sidecars the client's side closes, which loses nothing. All in
	// whole seconds, 0 for no bound.
	UpstreamAge, UpstreamIdle, DownstreamAge time.Duration
	// AccessLog writes a line of JSON for each request and connection.
	AccessLog bool
	// QuitWithApp lets /quitquitquit end the sidecar: for a Job in classic mode.
	QuitWithApp bool
	// StayForApp keeps Envoy running after SIGTERM while other processes of the pod
	// use the network: for classic mode, where kubelet tells all containers at once.
	StayForApp bool
	// ExtraArgs are appended to Envoy's own command line.
	ExtraArgs []string
}

// Wait is `pillion-proxy wait`: the startup gate. It ends well once Envoy is live
// with the expected listeners, and fails with a sentence after Timeout.
type Wait struct {
	Timeout    time.Duration
	StatusPort uint16
}

// Drain is `pillion-proxy drain`: the sidecar's preStop hook. It waits
// PreDrainDelay, tells Envoy to drain inbound listeners, and ends once no inbound
// connection is active or DrainTime is over.
type Drain struct {
	PreDrainDelay, DrainTime time.Duration
}
