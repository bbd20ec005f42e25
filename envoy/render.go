// Package envoy renders a service's model as what Envoy takes: clusters, virtual hosts
// and filters, in the messages that Envoy itself is defined by. The result is a
// bootstrap.Generation, which is the same for all pods of the service; package
// bootstrap puts it into a pod's listeners.
//
// Three things are held here. Every message passes its own validation, those inside of
// others too. The same model gives the same bytes. And nothing is limited that
// nobody limited: where Envoy has a default that does, the opposite is written.
//
// This package is pure, and the only one that imports Envoy's messages.
package envoy

import (
	"encoding/json"
	"fmt"
	"slices"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/mesh"
)

// Render is the generation of a service, sealed.
func Render(s *mesh.Service) (*bootstrap.Generation, error) {
	r := renderer{service: s, names: map[string]string{}, clusters: map[string]bootstrap.Cluster{}}
	g := &bootstrap.Generation{
		Service: s.Name, Namespace: s.Namespace, Created: s.Created, Number: s.Number,
		Statistics: statistics(s.Statistics),
	}
	for _, p := range s.Inbound {
		g.Inbound = append(g.Inbound, r.inbound(p))
	}
	// Routes refer to clusters by their whole name, so these come first.
	for _, d := range s.Egress {
		if d.Protocol.IsHTTP() {
			r.addCluster(d.Name, destinationCluster(d))
		} else {
			r.addInPlace(d.Name, destinationCluster(d))
		}
	}
	for _, d := range s.Egress {
		if !d.Protocol.IsHTTP() {
			g.Outbound.Connections = append(g.Outbound.Connections, r.connection(d))
		}
	}
	g.Outbound.BytePorts = bytePorts(s)
	for _, host := range r.virtualHosts() {
		g.Outbound.VirtualHosts = append(g.Outbound.VirtualHosts, r.raw(host.GetName(), host))
	}
	if s.RefuseUndeclared {
		g.Outbound.RefuseUndeclared = refusal(s)
	}
	for _, c := range r.clusters {
		g.Clusters = append(g.Clusters, c)
	}
	slices.SortFunc(g.Clusters, func(a, b bootstrap.Cluster) int { return compare(a.Name, b.Name) })
	if r.err != nil {
		return nil, fmt.Errorf("rendering Envoy's configuration of MeshService %s/%s: %w", s.Namespace, s.Name, r.err)
	}
	if _, err := g.Seal(); err != nil {
		return nil, err
	}
	return g, nil
}

// refusal is a format of Envoy's.
func refusal(s *mesh.Service) string {
	return fmt.Sprintf("%%REQ(:AUTHORITY)%% is not among the destinations of %s: undeclaredEgress of MeshService %s/%s is Refused, and no entry of its egress has this host and port\n", s.Name, s.Namespace, s.Name)
}

// connectRefusal is a format of Envoy's, too.
func connectRefusal(s *mesh.Service) string {
	return fmt.Sprintf("undeclaredEgress of MeshService %s/%s is Refused: CONNECT would get around it\n", s.Namespace, s.Name)
}

func statistics(s mesh.Statistics) bootstrap.Statistics {
	level := string(s.Destinations)
	if s.Destinations == mesh.Standard {
		level = ""
	}
	return bootstrap.Statistics{Destinations: level, MaxSeries: s.MaxSeries}
}

// connection leads to where it was going, by a cluster that counts and limits it.
func (r *renderer) connection(d mesh.Destination) bootstrap.Connection {
	c := bootstrap.Connection{Name: d.Name, Port: d.Port, Cluster: r.names[d.Name]}
	if d.Protocol == mesh.TLS {
		c.ServerNames = d.Hosts
	}
	return c
}

// inbound is one port of the pod.
func (r *renderer) inbound(p mesh.Inbound) bootstrap.InboundPort {
	port := bootstrap.InboundPort{
		Port: p.Port, TCP: p.TCP, Timeout: bootstrap.Duration(p.Timeout), MaxConcurrentStreams: p.ClientStreams(),
	}
	if p.MaxConnectionAge.Given {
		age := bootstrap.Duration(p.MaxConnectionAge.Limit)
		port.MaxConnectionAge = &age
	}
	// Also without a limit: one that comes later ends no connection of TLS or other bytes then.
	name := inboundName(p.Port)
	r.addInPlace(name, inboundCluster(p))
	port.Cluster = r.names[name]
	for _, filter := range inboundFilters(p) {
		port.HTTPFilters = append(port.HTTPFilters, r.filter(p.Port, filter))
	}
	return port
}

// inboundName has an underscore, which no destination's name has.
func inboundName(port uint16) string { return fmt.Sprintf("%s%d", bootstrap.InboundPrefix, port) }

func (r *renderer) filter(port uint16, f filter) json.RawMessage {
	return r.raw(fmt.Sprintf("the filter %s of port %d", f.name, port), f.message())
}
