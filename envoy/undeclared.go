package envoy

import (
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"

	"github.com/pillion-mesh/pillion/mesh"
)

// undeclared is what bootstrap's own virtual host does, for the names that are declared
// and the ports that are not. Ports of TCP are for any host: a connection that was open
// before they were declared is still one for HTTP.
func (r *renderer) undeclared() []*routev3.Route {
	if !r.service.RefuseUndeclared {
		return []*routev3.Route{match{grpc: true}.passed(), match{}.passed(), match{connect: true}.passed()}
	}
	var routes []*routev3.Route
	for _, m := range []match{{}, {connect: true}} {
		for _, port := range r.bytePorts() {
			routes = append(routes, match{port: port, connect: m.connect}.passed())
		}
		routes = append(routes, m.refused(refusal(r.service)))
	}
	return routes
}

// bytePorts are those on which there is TCP and no HTTP.
func (r *renderer) bytePorts() (ports []string) {
	http := map[uint16]bool{}
	for _, d := range r.service.Egress {
		http[d.Port] = http[d.Port] || d.Protocol.IsHTTP()
	}
	for _, d := range r.service.Egress {
		if d.Protocol == mesh.TCP && !http[d.Port] {
			ports = append(ports, toPort(d.Port).port)
		}
	}
	return ports
}
