package bootstrap

import (
	"maps"
	"slices"
	"strconv"
	"time"
)

// What a generation adds. Envoy looks for the chain of a connection by its port first,
// and never comes back to chains without a port: so a port that has one chain of its
// own has one for everything that may come to it.

func (c Config) startClusters() []Cluster {
	if c.Generation == nil {
		return nil
	}
	var clusters []Cluster
	for _, of := range c.Generation.Clusters {
		clusters = append(clusters, of.AtStart())
	}
	return clusters
}

// portRoutes is the name of the route configuration of an inbound port.
func portRoutes(port uint16) string { return Inbound + "-" + strconv.Itoa(int(port)) }

// inboundPortRoutes are those of the ports, by their name.
func (c Config) inboundPortRoutes() map[string]routeConfiguration {
	all := map[string]routeConfiguration{}
	if c.Generation == nil {
		return all
	}
	for _, p := range c.Generation.Inbound {
		if !p.TCP {
			to := routeAction{Cluster: p.cluster(), Timeout: seconds(time.Duration(p.Timeout))}
			all[portRoutes(p.Port)] = c.inboundRoutes(portRoutes(p.Port), to).Value
		}
	}
	return all
}

func (p InboundPort) cluster() string {
	if p.Cluster == "" {
		return InboundPassthrough
	}
	return p.Cluster
}

func (c Config) inboundChains() []filterChain {
	if c.Generation == nil {
		return nil
	}
	var chains []filterChain
	for _, p := range c.Generation.Inbound {
		if !p.TCP {
			of := httpOptions{routes: portRoutes(p.Port), streams: maxStreams, age: c.DownstreamAge, filters: p.HTTPFilters}
			if p.MaxConcurrentStreams > 0 {
				of.streams = min(p.MaxConcurrentStreams, maxStreams)
			}
			if p.MaxConnectionAge != nil {
				of.age = time.Duration(*p.MaxConnectionAge)
			}
			chains = append(chains, filterChain{
				Name: chainName("http", p.Port), Match: httpMatch(p.Port), Filters: []extension{c.httpConnectionManager(Inbound, of)},
			})
		}
		chains = append(chains, c.byteChains(Inbound, chainName("tcp", p.Port), p.Port, p.cluster())...)
	}
	return chains
}

func chainName(what string, port uint16) string { return what + " " + strconv.Itoa(int(port)) }

// byteChains take what comes to a port and is no HTTP in the clear. What is no TLS has
// a chain of its own: where there is one for HTTP, Envoy looks among those alone.
func (c Config) byteChains(direction, name string, port uint16, to string) []filterChain {
	filters := []extension{c.tcpProxy(direction, to)}
	return []filterChain{
		{Name: name, Match: &filterChainMatch{DestinationPort: port, TransportProtocol: rawBuffer}, Filters: filters},
		{Name: name + " tls", Match: &filterChainMatch{DestinationPort: port}, Filters: filters},
	}
}

func (c Config) outboundChains() []filterChain {
	if c.Generation == nil {
		return nil
	}
	var chains []filterChain
	// ports have chains of their own; true for all that may come.
	ports := map[uint16]bool{}
	// byAddress are those on which kube-apiserver is known by its address.
	byAddress := map[uint16]bool{}
	for _, of := range c.Generation.Outbound.Connections {
		if _, known := ports[of.Port]; !known && !slices.Contains(c.Generation.Outbound.BytePorts, of.Port) {
			ports[of.Port] = false
			// The same as without a port: HTTP finds its destination by the host.
			chains = append(chains, filterChain{
				Name: chainName("http", of.Port), Match: httpMatch(of.Port),
				Filters: []extension{c.httpConnectionManager(Outbound, c.passthroughHTTP(Outbound))},
			})
		}
		if len(of.ServerNames) == 0 {
			ports[of.Port] = true
			chains = append(chains, c.byteChains(Outbound, of.Name, of.Port, of.Cluster)...)
			continue
		}
		chains = append(chains, filterChain{
			Name:    of.Name,
			Match:   &filterChainMatch{DestinationPort: of.Port, ServerNames: of.ServerNames, TransportProtocol: isTLS},
			Filters: []extension{c.tcpProxy(Outbound, of.Cluster)},
		})
		// Of destinations that are kube-apiserver by one name each the first has those who come by
		// address: Envoy takes no two chains for the same.
		if c.APIServer.IsValid() && !byAddress[of.Port] && slices.ContainsFunc(of.ServerNames, isAPIServer) {
			byAddress[of.Port] = true
			chains = append(chains, c.apiServerChain(of))
		}
	}
	if c.Generation.Outbound.RefuseUndeclared == "" {
		return chains
	}
	ports[0] = false // all others
	for _, port := range slices.Sorted(maps.Keys(ports)) {
		if !ports[port] {
			match := &filterChainMatch{DestinationPort: port, TransportProtocol: isTLS}
			chains = append(chains, filterChain{Name: chainName("refused", port), Match: match, Filters: []extension{c.tcpProxy(Outbound, Blackhole)}})
		}
	}
	return chains
}

// isAPIServer says whether a name is one that kube-apiserver has in every cluster, or in
// those of the usual domain.
func isAPIServer(name string) bool {
	switch name {
	case "kubernetes.default", "kubernetes.default.svc", "kubernetes.default.svc.cluster.local":
		return true
	}
	return false
}

// apiServerChain is for the Kubernetes clients in the pod, where kube-apiserver is a destination.
// They connect to the address that they are told, so no server name says where to: that of the
// Service kubernetes, in the pod's own namespace if there is one. Envoy looks at no other chain for
// it, so whatever comes is let through, also that of a client who has been silent for so long that
// it is not known for one of TLS.
func (c Config) apiServerChain(of Connection) filterChain {
	return filterChain{
		Name:    of.Name + " by address",
		Match:   &filterChainMatch{DestinationPort: of.Port, PrefixRanges: []cidrRange{{c.APIServer.String(), c.APIServer.BitLen()}}},
		Filters: []extension{c.tcpProxy(Outbound, of.Cluster)},
	}
}

// virtualHosts are those of the destinations, and one for all others.
func (d Destinations) virtualHosts(others any) []any {
	var hosts []any
	for _, host := range d.VirtualHosts {
		hosts = append(hosts, host)
	}
	if d.RefuseUndeclared != "" {
		others = d.refused()
	}
	return append(hosts, others)
}

// refused answers every request, also those of gRPC clients in their way. A port of which
// all bytes are let through is let through on a connection too that was open before that.
func (d Destinations) refused() virtualHost {
	var routes []route
	if len(d.BytePorts) > 0 {
		for _, r := range passed() {
			r.Match.Headers = []headerMatcher{{PortAside, stringMatcher{Regex: &safeRegex{PortPattern(d.BytePorts)}}}}
			routes = append(routes, r)
		}
	}
	answer := &directResponse{403, bodyFormat{dataSource{d.RefuseUndeclared}}}
	host := virtualHostFor(append(routes,
		route{Name: "refused", Match: routeMatch{Prefix: new(string)}, DirectResponse: answer},
		route{Name: "refused", Match: routeMatch{Connect: &struct{}{}}, DirectResponse: answer})...)
	host.Name = "refused"
	return host
}
