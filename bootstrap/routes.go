package bootstrap

type routeConfiguration struct {
	Name                 string        `json:"name"`
	VirtualHosts         []virtualHost `json:"virtual_hosts"`
	RequestHeadersRemove []string      `json:"request_headers_to_remove"`
}

type virtualHost struct {
	Name                 string        `json:"name"`
	Domains              []string      `json:"domains"`
	Routes               []route       `json:"routes"`
	RequestHeadersAdd    []headerToAdd `json:"request_headers_to_add"`
	RequestHeadersRemove []string      `json:"request_headers_to_remove"`
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

// routes are a list in one virtual host. Envoy changes headers for it first, and then
// for the whole; in each it removes before it adds.
func routes(name string, list ...route) typed[routeConfiguration] {
	return typed[routeConfiguration]{"type.googleapis.com/envoy.config.route.v3.RouteConfiguration", routeConfiguration{
		Name: name,
		VirtualHosts: []virtualHost{{
			Name: "passthrough", Domains: []string{"*"}, Routes: list,
			RequestHeadersRemove: []string{proto}, RequestHeadersAdd: []headerToAdd{copied(protoAside, proto)},
		}},
		RequestHeadersRemove: []string{protoAside},
	}}
}

// Envoy says x-forwarded-proto to an app whose client did not, and has no switch for
// that. Tomcat, for one, then takes port 80 for the one that the client asked for. So
// what the client said is set aside before Envoy looks, and put back behind it.
const (
	proto      = "x-forwarded-proto"
	protoAside = "x-pillion-forwarded-proto"
)

type headerMutations struct {
	Type      string           `json:"@type"`
	Mutations []headerMutation `json:"mutations"`
}

type headerMutation struct {
	Append *headerToAdd `json:"append,omitempty"`
	Remove string       `json:"remove,omitempty"`
}

func setProtoAside() extension {
	aside := copied(proto, protoAside)
	return extension{"envoy.http.early_header_mutation.header_mutation", headerMutations{
		Type:      "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
		Mutations: []headerMutation{{Remove: protoAside}, {Append: &aside}, {Remove: proto}},
	}}
}

// copied is a request's header under another name; where it is not there, nothing.
func copied(from, to string) headerToAdd {
	return headerToAdd{header{to, "%REQ(" + from + ")%"}, "OVERWRITE_IF_EXISTS_OR_ADD"}
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
