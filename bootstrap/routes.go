package bootstrap

import (
	"strconv"
	"strings"
)

type routeConfiguration struct {
	Name                 string   `json:"name"`
	VirtualHosts         []any    `json:"virtual_hosts"`
	RequestHeadersRemove []string `json:"request_headers_to_remove"`
	// ValidateClusters refuses routes to clusters that are not there, which Envoy would
	// otherwise take and answer 503.
	ValidateClusters bool `json:"validate_clusters,omitempty"`
	IgnorePort       bool `json:"ignore_port_in_host_matching,omitempty"`
}

type virtualHost struct {
	Name                 string        `json:"name"`
	Domains              []string      `json:"domains"`
	Routes               []route       `json:"routes"`
	RequestHeadersAdd    []headerToAdd `json:"request_headers_to_add"`
	RequestHeadersRemove []string      `json:"request_headers_to_remove"`
}

type route struct {
	Name               string          `json:"name"`
	Match              routeMatch      `json:"match"`
	Route              *routeAction    `json:"route,omitempty"`
	DirectResponse     *directResponse `json:"direct_response,omitempty"`
	ResponseHeadersAdd []headerToAdd   `json:"response_headers_to_add,omitempty"`
}

// routeMatch has one of Prefix and Connect. The empty prefix matches every path,
// "*" too, which is no path.
type routeMatch struct {
	Prefix   *string          `json:"prefix,omitempty"`
	Connect  *struct{}        `json:"connect_matcher,omitempty"`
	Headers  []headerMatcher  `json:"headers,omitempty"`
	GRPC     *struct{}        `json:"grpc,omitempty"`
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

type directResponse struct {
	Status int        `json:"status"`
	Format bodyFormat `json:"body_format"`
}

type bodyFormat struct {
	Text dataSource `json:"text_format_source"`
}

type headerToAdd struct {
	Header       header `json:"header"`
	AppendAction string `json:"append_action"`
}

type header struct {
	Key   string `json:"key"`
	Value string `json:"value"`
}

// routesFile holds the route configuration of a name.
func routesFile(name string) string { return XDSFolder + "/rds-" + name + ".json" }

// inboundRoutes lead to the app. While the pod drains, by a switch in the runtime
// that nobody has to reload anything for, responses say so.
func (c Config) inboundRoutes(name string, to routeAction) typed[routeConfiguration] {
	draining := route{
		Name: "draining", Route: &to,
		Match:              routeMatch{Prefix: new(string), Fraction: &runtimeFraction{Key: DrainingRuntimeKey}},
		ResponseHeadersAdd: []headerToAdd{{header{DrainingHeader, "1"}, "OVERWRITE_IF_EXISTS_OR_ADD"}},
	}
	return c.routes(name, virtualHostFor(draining, everyPath(to), connect(to)))
}

func (c Config) outboundRoutes() typed[routeConfiguration] {
	hosts := []any{virtualHostFor(passed()...)}
	if c.Generation != nil {
		hosts = c.Generation.Outbound.virtualHosts(hosts[0])
	}
	of := c.routes(Outbound, hosts...)
	of.Value.IgnorePort = c.Generation != nil
	of.Value.RequestHeadersRemove = append(of.Value.RequestHeadersRemove, PortAside)
	return of
}

// passed are the routes that lead where the client was going.
func passed() []route {
	grpc := everyPath(toward(OutboundGRPC))
	grpc.Match.GRPC = &struct{}{}
	return []route{grpc, everyPath(toward(OutboundPassthrough)), connect(toward(OutboundPassthrough))}
}

func (c Config) routes(name string, hosts ...any) typed[routeConfiguration] {
	return routesOf(routeConfiguration{
		Name: name, VirtualHosts: hosts, RequestHeadersRemove: []string{protoAside}, ValidateClusters: c.Generation != nil,
	})
}

func routesOf(of routeConfiguration) typed[routeConfiguration] {
	return typed[routeConfiguration]{"type.googleapis.com/envoy.config.route.v3.RouteConfiguration", of}
}

// virtualHostFor every host. Envoy changes headers for it first, and then for the whole; in
// each it removes before it adds.
func virtualHostFor(list ...route) virtualHost {
	return virtualHost{
		Name: "passthrough", Domains: []string{"*"}, Routes: list,
		RequestHeadersRemove: []string{proto}, RequestHeadersAdd: []headerToAdd{copied(protoAside, proto)},
	}
}

// Envoy says x-forwarded-proto to an app whose client did not, and has no switch for
// that. Tomcat, for one, then takes port 80 for the one that the client asked for. So
// what the client said is set aside before Envoy looks, and put back behind it.
const (
	proto      = "x-forwarded-proto"
	protoAside = "x-pillion-forwarded-proto"
)

// PortAside is the header that tells routes which port a connection goes to: a route can
// go by headers, and by no address.
const PortAside = "x-pillion-port"

// PortPattern is a regular expression for it: one of the ports.
func PortPattern(ports []uint16) string {
	var all []string
	for _, port := range ports {
		all = append(all, strconv.Itoa(int(port)))
	}
	return strings.Join(all, "|")
}

type headerMutations struct {
	Type      string           `json:"@type"`
	Mutations []headerMutation `json:"mutations"`
}

type headerMutation struct {
	Append *headerToAdd `json:"append,omitempty"`
	Remove string       `json:"remove,omitempty"`
}

func earlyMutations(direction string) extension {
	aside := copied(proto, protoAside)
	mutations := []headerMutation{{Remove: protoAside}, {Append: &aside}, {Remove: proto}}
	if direction == Outbound {
		mutations = append(mutations, headerMutation{Append: &headerToAdd{header{PortAside, "%DOWNSTREAM_LOCAL_PORT%"}, "OVERWRITE_IF_EXISTS_OR_ADD"}})
	}
	for _, name := range ordersByHeader() {
		mutations = append(mutations, headerMutation{Remove: name})
	}
	return extension{"envoy.http.early_header_mutation.header_mutation", headerMutations{
		Type:      "type.googleapis.com/envoy.extensions.http.early_header_mutation.header_mutation.v3.HeaderMutation",
		Mutations: mutations,
	}}
}

// ordersByHeader are headers by which a request tells Envoy how long to wait, what to send
// again and under which name to count. Envoy obeys those whom it takes for internal: all
// private addresses before 1.36, and nobody since then. Whoever calls must not get around
// what a MeshService says, with no image.
func ordersByHeader() []string {
	return []string{
		"x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-upstream-rq-timeout-alt-response",
		"x-envoy-upstream-stream-duration-ms", "x-envoy-upstream-alt-stat-name",
		"x-envoy-retry-on", "x-envoy-retry-grpc-on", "x-envoy-max-retries", "x-envoy-retriable-status-codes",
		"x-envoy-retriable-header-names", "x-envoy-hedge-on-per-try-timeout",
	}
}

// copied is a request's header under another name; where it is not there, nothing.
func copied(from, to string) headerToAdd {
	return headerToAdd{header{to, "%REQ(" + from + ")%"}, "OVERWRITE_IF_EXISTS_OR_ADD"}
}

// toward has no timeout: the client is the one who waits.
func toward(cluster string) routeAction { return routeAction{Cluster: cluster, Timeout: seconds(0)} }

// PassthroughRoute is the name of the routes that lead where the client was going, in
// package envoy as well. No destination's name has an underscore.
const PassthroughRoute = "_passthrough"

func everyPath(to routeAction) route {
	return route{Name: PassthroughRoute, Match: routeMatch{Prefix: new(string)}, Route: &to}
}

// connect passes CONNECT on to a forward proxy.
func connect(to routeAction) route {
	return route{Name: PassthroughRoute, Match: routeMatch{Connect: &struct{}{}}, Route: &to}
}
