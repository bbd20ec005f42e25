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
	// QuitWithApp lets /quitquitquit end the sidecar: for a Job in classic mode.
	QuitWithApp bool
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
