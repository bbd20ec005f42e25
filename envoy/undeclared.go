package envoy

import (
	"slices"

	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/pillion-mesh/pillion/mesh"
)

// undeclared is what bootstrap's own virtual host does, for the names that are declared
// and the ports that are not. Ports of TCP are for any host: a connection that was open
// before they were declared is still one for HTTP.
func (r *renderer) undeclared() []*routev3.Route {
	if !r.service.RefuseUndeclared {
		return match{}.passed()
	}
	var routes []*routev3.Route
	if ports := bytePorts(r.service); len(ports) > 0 {
		routes = match{ports: ports}.passed()
	}
	return append(routes, match{}.refused(refusal(r.service)), match{connect: true}.refused(refusal(r.service)))
}

// bytePorts are those on which there is TCP and no HTTP.
func bytePorts(s *mesh.Service) (ports []uint16) {
	for _, d := range s.Egress {
		http := slices.ContainsFunc(s.Egress, func(other mesh.Destination) bool { return other.Port == d.Port && other.Protocol.IsHTTP() })
		if d.Protocol == mesh.TCP && !http {
			ports = append(ports, d.Port)
		}
	}
	slices.Sort(ports)
	return ports
}
