// Package iptables is the contract of a pod's traffic redirect: which TCP
// connections go through Envoy and which do not.
//
// Redirect is what the webhook resolves for a pod and writes as pillion-init's
// command line (Args), and what pillion-init reads back (ParseArgs). Every token
// of that command line comes from a parsed number or prefix, never from a string
// that somebody else wrote.
//
// This package is pure: it decides and renders, and touches no kernel.
package iptables

import "net/netip"

// PortRange is an inclusive range of TCP ports; First and Last are equal for one
// port.
type PortRange struct {
	First, Last uint16
}

// ProbePort leads a kubelet probe around Envoy: the kernel redirects connections
// that come to Listen straight to the app's own port Target. No process listens
// on Listen, so that a dead app refuses its probe as it would without a proxy.
type ProbePort struct {
	Listen, Target uint16
}

// Redirect says which TCP connections of a pod go through Envoy: all, but for
// what its fields name.
type Redirect struct {
	// ProxyUID and ProxyGID are never redirected: Envoy's own connections.
	ProxyUID, ProxyGID uint32
	// InboundPort and OutboundPort are where Envoy listens for redirected
	// connections.
	InboundPort, OutboundPort uint16
	// OwnPorts are the sidecar's, left alone on the way in.
	OwnPorts PortRange
	// ProbePorts are redirected to the app on the way in.
	ProbePorts []ProbePort
	// ReservedInbound and ReservedOutbound bypass Envoy.
	ReservedInbound, ReservedOutbound []PortRange
	// ExcludedCIDRs are destinations whose connections bypass Envoy on the way out.
	ExcludedCIDRs []netip.Prefix
	// IPv4 and IPv6 say which families are redirected.
	IPv4, IPv6 bool
}
