package bootstrap

type routeConfiguration struct {
	Name         string        `json:"name"`
	VirtualHosts []virtualHost `json:"virtual_hosts"`
}

type virtualHost struct {
	Name    string   `json:"name"`
	Domains []string `json:"domains"`
	Routes  []route  `json:"routes"`
}

type route struct {
	Name               string        `json:"name"`
	Match              routeMatch    `json:"match"`
	Route              routeAction   `json:"route"`
	ResponseHeadersAdd []headerToAdd `json:"response_headers_to_add,omitempty"`
}

// routeMatch has one of Prefix and Connect. The empty prefix matches every path,
// "*" too, which is no path.
type routeMatch struct {
	Prefix   *string          `json:"prefix,omitempty"`
	Connect  *struct{}        `json:"connect_matcher,omitempty"`
	Fraction *runtimeFraction `json:"runtime_fraction,omitempty"`
}

type runtimeFraction struct {
	Default fraction `json:"default_value"`
	Key     string   `json:"runtime_key"`
}

type fraction struct {
	Numerator int `json:"numerator"`
}

type routeAction struct {
	Cluster string `json:"cluster"`
	Timeout string `json:"timeout"`
}

type headerToAdd struct {
	Header       header `json:"header"`
	AppendAction string `json:"append_action"`
}

type header struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// inboundRoutes lead to the app. While the pod drains, by a switch in the runtime
// that nobody has to reload anything for, responses say so.
func inboundRoutes() typed[routeConfiguration] {
	to := toward(InboundPassthrough)
	draining := route{
		Name: "draining", Route: to,
		Match:              routeMatch{Prefix: new(string), Fraction: &runtimeFraction{Key: DrainingRuntimeKey}},
		ResponseHeadersAdd: []headerToAdd{{header{DrainingHeader, "1"}, "OVERWRITE_IF_EXISTS_OR_ADD"}},
	}
	return routes(Inbound, draining, everyPath(to), connect(to))
}

func outboundRoutes() typed[routeConfiguration] {
	to := toward(OutboundPassthrough)
	return routes(Outbound, everyPath(to), connect(to))
}

func routes(name string, list ...route) typed[routeConfiguration] {
	return typed[routeConfiguration]{"type.googleapis.com/envoy.config.route.v3.RouteConfiguration", routeConfiguration{
		Name: name, VirtualHosts: []virtualHost{{Name: "passthrough", Domains: []string{"*"}, Routes: list}},
	}}
}

// toward has no timeout: the client is the one who waits.
func toward(cluster string) routeAction { return routeAction{Cluster: cluster, Timeout: seconds(0)} }

func everyPath(to routeAction) route {
	return route{Name: "passthrough", Match: routeMatch{Prefix: new(string)}, Route: to}
}

// connect passes CONNECT on to a forward proxy.
func connect(to routeAction) route {
	return route{Name: "connect", Match: routeMatch{Connect: &struct{}{}}, Route: to}
}
