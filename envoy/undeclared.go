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
	http := map[uint16]bool{}
	for _, d := range s.Egress {
		http[d.Port] = http[d.Port] || d.Protocol.IsHTTP()
	}
	for _, d := range s.Egress {
		if d.Protocol == mesh.TCP && !http[d.Port] {
			ports = append(ports, d.Port)
		}
	}
	slices.Sort(ports)
	return ports
}
