package envoy

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hostsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/host/previous_hosts/v3"
	prioritiesv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/retry/priority/previous_priorities/v3"
	matcherv3 "github.com/envoyproxy/go-control-plane/envoy/type/matcher/v3"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/mesh"
)

// compare is the order of names.
func compare(a, b string) int { return cmp.Compare(a, b) }

// virtualHosts take requests by the name that the client says it calls and the port that
// it connects to. What a client says of the port does not count: many leave it out, or
// pass a Host on that others said. There is one for each set of destinations that have
// names in common; what goes to another port of these names is undeclared.
func (r *renderer) virtualHosts() []*routev3.VirtualHost {
	called := map[string][]mesh.Destination{}
	for _, d := range r.service.Egress {
		if d.Protocol.IsHTTP() {
			for _, name := range names(d) {
				called[name] = append(called[name], d)
			}
		}
	}
	hosts := map[string]*routev3.VirtualHost{}
	for _, name := range slices.Sorted(maps.Keys(called)) {
		key := joined(called[name])
		if hosts[key] == nil {
			hosts[key] = r.virtualHost(key, called[name])
		}
		hosts[key].Domains = append(hosts[key].Domains, name)
	}
	var all []*routev3.VirtualHost
	undeclared := r.undeclared()
	for _, key := range slices.Sorted(maps.Keys(hosts)) {
		hosts[key].Routes = append(hosts[key].Routes, undeclared...)
		all = append(all, hosts[key])
	}
	return all
}

// joined are the names of destinations in one.
func joined(of []mesh.Destination) string {
	var names []string
	for _, d := range of {
		names = append(names, d.Name)
	}
	return strings.Join(names, " ")
}

// virtualHost has the routes of some destinations. Those of each come in this order: to
// elsewhere, requests that may be carried out twice, all others.
func (r *renderer) virtualHost(name string, of []mesh.Destination) *routev3.VirtualHost {
	host := &routev3.VirtualHost{
		Name: name,
		// As bootstrap's own virtual hosts do.
		RequestHeadersToRemove: []string{bootstrap.ForwardedProto, expectedTimeout},
		RequestHeadersToAdd: []*corev3.HeaderValueOption{{
			Header:       &corev3.HeaderValue{Key: bootstrap.ForwardedProto, Value: "%REQ(" + bootstrap.ForwardedProtoAside + ")%"},
			AppendAction: corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD,
		}},
	}
	for _, d := range of {
		to := toPort(d.Port)
		for n, elsewhere := range d.Routes {
			name := fmt.Sprintf("%s/%d", d.Name, n)
			for _, m := range methods(to, elsewhere) {
				host.Routes = append(host.Routes, r.elsewhere(d, elsewhere, name, m)...)
			}
		}
		host.Routes = append(host.Routes, retried(d.Name, to, r.names[d.Name], d)...)
		host.Routes = append(host.Routes, r.connect(to))
	}
	return host
}

// names are what clients call a destination by. One that is complete may be said with
// the dot that says so.
func names(d mesh.Destination) []string {
	all := slices.Clone(d.Hosts)
	for _, host := range d.Hosts {
		if strings.Contains(host, ".") && (len(d.Hosts) == 1 || strings.HasSuffix(host, "."+mesh.ClusterDomain)) {
			all = append(all, host+".")
		}
	}
	return all
}

// expectedTimeout is a header by which Envoy would tell the server about the timeout. It
// is said with a retry all the same: that is made of what was sent first.
const expectedTimeout = "x-envoy-expected-rq-timeout-ms"

// elsewhere leads what matches to another destination. Timeout and retries are those of
// the destination that the app called: it is this one that the app has expectations of.
func (r *renderer) elsewhere(d mesh.Destination, to mesh.Route, name string, m match) []*routev3.Route {
	if to.Fallback == mesh.NoFallback {
		return retried(name, m, r.names[to.To], d)
	}
	// No destination's name has an underscore.
	both := to.To + "_else_" + d.Name
	if _, there := r.names[both]; !there {
		r.addCluster(both, fallbackCluster(r.names[to.To], r.names[d.Name]))
	}
	absent := m.to(name, fallsBackAbsent(r.names[both], d.Timeout))
	if to.Fallback == mesh.FallbackAbsent {
		return []*routev3.Route{absent}
	}
	// The first destination may have carried out what it failed at. A gRPC method that the
	// route names may be carried out twice, or the owner would not have named it.
	if m.path != "" {
		return []*routev3.Route{m.to(name, fallsBack(r.names[both], d.Timeout, to.After))}
	}
	var routes []*routev3.Route
	for _, twice := range m.mayBeTwice(d.Retries.SafeMethods) {
		routes = append(routes, twice.match.to(name+twice.name, fallsBack(r.names[both], d.Timeout, to.After)))
	}
	return append(routes, absent)
}

// fallsBackAbsent goes to the second cluster where the first takes no request.
func fallsBackAbsent(cluster string, timeout time.Duration) *routev3.RouteAction {
	action := toward(cluster, timeout)
	action.RetryPolicy = fallbackPolicy("connect-failure,refused-stream")
	return action
}

// fallsBack goes to the second cluster for any failure, a late answer as well.
func fallsBack(cluster string, timeout, after time.Duration) *routev3.RouteAction {
	action := toward(cluster, timeout)
	action.RetryPolicy = fallbackPolicy("5xx,reset,connect-failure,refused-stream,cancelled,deadline-exceeded,internal,resource-exhausted,unavailable")
	action.RetryPolicy.PerTryTimeout = seconds(after)
	// The bound is for the first attempt alone: the second goes on behind it, and the
	// first may still answer. Whichever answers well first is taken.
	action.HedgePolicy = &routev3.HedgePolicy{HedgeOnPerTryTimeout: true}
	return action
}

// fallbackPolicy tries the second cluster of two.
func fallbackPolicy(on string) *routev3.RetryPolicy {
	return &routev3.RetryPolicy{
		RetryOn: on, NumRetries: number(1),
		// The second cluster has nothing to recover from, so nobody has to be waited for.
		RetryBackOff: &routev3.RetryPolicy_RetryBackOff{BaseInterval: seconds(time.Millisecond)},
		RetryPriority: &routev3.RetryPolicy_RetryPriority{
			Name: "envoy.retry_priorities.previous_priorities",
			ConfigType: &routev3.RetryPolicy_RetryPriority_TypedConfig{
				TypedConfig: packed(&prioritiesv3.PreviousPrioritiesConfig{UpdateFrequency: 1}),
			},
		},
	}
}

// retried are the routes to a cluster: with all retries for requests that may be
// carried out twice, with the safe ones for the others.
func retried(name string, m match, cluster string, d mesh.Destination) []*routev3.Route {
	var routes []*routev3.Route
	add := func(name string, m match, policy *routev3.RetryPolicy) {
		action := toward(cluster, d.Timeout)
		action.RetryPolicy = policy
		routes = append(routes, m.to(name, action))
	}
	if d.Retries.Reset || d.Retries.Unavailable {
		for _, twice := range m.mayBeTwice(d.Retries.SafeMethods) {
			add(name+twice.name, twice.match, retryPolicy(d.Retries, true))
		}
	}
	add(name, m, retryPolicy(d.Retries, false))
	return routes
}

func retryPolicy(r mesh.Retries, repeatable bool) *routev3.RetryPolicy {
	var on []string
	for _, condition := range []struct {
		asked bool
		name  string
	}{
		{r.ConnectFailure, "connect-failure"}, {r.RefusedStream, "refused-stream"},
		{r.Reset && repeatable, "reset"},
		// A connection that ends without a response is a 503 of Envoy's own.
		{r.Unavailable && repeatable, "gateway-error,unavailable"},
	} {
		if condition.asked {
			on = append(on, condition.name)
		}
	}
	if r.Attempts == 0 || len(on) == 0 {
		return nil
	}
	// An attempt that is given up ends as a reset. Where that is not for a retry, giving up
	// would only take the rest of the timeout away.
	perTry := time.Duration(0)
	if repeatable {
		perTry = r.PerTryTimeout
	}
	return &routev3.RetryPolicy{
		RetryOn: strings.Join(on, ","), NumRetries: number(r.Attempts), PerTryTimeout: bound(perTry),
		// Another address than the one that has just failed, if there is one.
		RetryHostPredicate: []*routev3.RetryPolicy_RetryHostPredicate{{
			Name:       "envoy.retry_host_predicates.previous_hosts",
			ConfigType: &routev3.RetryPolicy_RetryHostPredicate_TypedConfig{TypedConfig: packed(&hostsv3.PreviousHostsPredicate{})},
		}},
		HostSelectionRetryMaxAttempts: hostSelections,
	}
}

// hostSelections bounds how often Envoy draws an address for a retry until it is another
// one. Of two addresses each draw is the wrong one with a half.
const hostSelections = 20

// toward has the timeout, or none: Envoy's own would be 15 s.
func toward(cluster string, timeout time.Duration) *routev3.RouteAction {
	return &routev3.RouteAction{
		ClusterSpecifier: &routev3.RouteAction_Cluster{Cluster: cluster},
		Timeout:          seconds(timeout),
	}
}

// connect is for a forward proxy, which is where the connection was going: the host that
// the client names is the one that the proxy is to connect to. Where what is not
// declared is refused, so is this, since the proxy would get around it.
func (r *renderer) connect(m match) *routev3.Route {
	m.connect = true
	if r.service.RefuseUndeclared {
		return m.refused(connectRefusal(r.service))
	}
	return m.to(bootstrap.PassthroughRoute, toward(bootstrap.OutboundPassthrough, 0))
}

// match is what a request has to have; all of it.
type match struct {
	// ports that the connection may go to; empty for any.
	ports []uint16
	// connect requests only.
	connect bool
	headers []mesh.Header
	// grpc requests only, with this path, or any that begins with prefix.
	grpc         bool
	path, prefix string
	// repeatable requests are those that HTTP says may be carried out twice.
	repeatable bool
}

func toPort(port uint16) match { return match{ports: []uint16{port}} }

// methods are the matches of a route: one for each gRPC method that it names.
func methods(m match, to mesh.Route) []match {
	m.headers = to.Headers
	if to.Service == "" {
		return []match{m}
	}
	m.grpc = true
	if len(to.Methods) == 0 {
		m.prefix = "/" + to.Service + "/"
		return []match{m}
	}
	var all []match
	for _, method := range to.Methods {
		m.path = "/" + to.Service + "/" + method
		all = append(all, m)
	}
	return all
}

// part of a match, with what tells it apart from others in the name of a route.
type part struct {
	name  string
	match match
}

// mayBeTwice are the parts of a match in which a request may be carried out twice:
// gRPC methods that the owner says it of, and what HTTP says it of.
func (m match) mayBeTwice(safeMethods []string) []part {
	var parts []part
	for _, method := range safeMethods {
		if safe, ok := m.only(method); ok {
			parts = append(parts, part{" " + method, safe})
		}
	}
	if !m.grpc {
		repeatable := m
		repeatable.repeatable = true
		parts = append(parts, part{" repeatable", repeatable})
	}
	return parts
}

// only is the part of a match that is this gRPC method; false where it has none.
func (m match) only(method string) (match, bool) {
	path := "/" + method
	if m.path != "" && m.path != path || !strings.HasPrefix(path, m.prefix) {
		return match{}, false
	}
	m.grpc, m.path, m.prefix = true, path, ""
	return m, true
}

func (m match) to(name string, action *routev3.RouteAction) *routev3.Route {
	return &routev3.Route{Name: name, Match: m.message(), Action: &routev3.Route_Route{Route: action}}
}

// passed leads where the client was going.
func (m match) passed() []*routev3.Route {
	grpc, connect := m, m
	grpc.grpc, connect.connect = true, true
	return []*routev3.Route{
		grpc.to(bootstrap.PassthroughRoute, toward(bootstrap.OutboundGRPC, 0)),
		m.to(bootstrap.PassthroughRoute, toward(bootstrap.OutboundPassthrough, 0)),
		connect.to(bootstrap.PassthroughRoute, toward(bootstrap.OutboundPassthrough, 0)),
	}
}

// refused answers with a sentence, a format of Envoy's.
func (m match) refused(sentence string) *routev3.Route {
	return &routev3.Route{Name: "refused", Match: m.message(), Action: &routev3.Route_DirectResponse{DirectResponse: &routev3.DirectResponseAction{
		Status: 403,
		BodyFormat: &corev3.SubstitutionFormatString{Format: &corev3.SubstitutionFormatString_TextFormatSource{
			TextFormatSource: &corev3.DataSource{Specifier: &corev3.DataSource_InlineString{InlineString: sentence}},
		}},
	}}}
}

func (m match) message() *routev3.RouteMatch {
	rm := &routev3.RouteMatch{}
	switch {
	case m.connect:
		rm.PathSpecifier = &routev3.RouteMatch_ConnectMatcher_{ConnectMatcher: &routev3.RouteMatch_ConnectMatcher{}}
	case m.path != "":
		rm.PathSpecifier = &routev3.RouteMatch_Path{Path: m.path}
	default:
		// The empty prefix matches every path, "*" too, which is no path.
		rm.PathSpecifier = &routev3.RouteMatch_Prefix{Prefix: m.prefix}
	}
	if m.grpc {
		rm.Grpc = &routev3.RouteMatch_GrpcRouteMatchOptions{}
	}
	if len(m.ports) == 1 {
		rm.Headers = append(rm.Headers, header(bootstrap.PortAside, exactly(bootstrap.PortPattern(m.ports))))
	} else if len(m.ports) > 1 {
		rm.Headers = append(rm.Headers, header(bootstrap.PortAside, matching(bootstrap.PortPattern(m.ports))))
	}
	for _, h := range m.headers {
		rm.Headers = append(rm.Headers, header(h.Name, exactly(h.Value)))
	}
	if m.repeatable {
		rm.Headers = append(rm.Headers, header(":method", matching("GET|HEAD|OPTIONS|PUT|DELETE")))
	}
	return rm
}

func exactly(value string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_Exact{Exact: value}}
}

// matching is a regular expression for the whole value.
func matching(pattern string) *matcherv3.StringMatcher {
	return &matcherv3.StringMatcher{MatchPattern: &matcherv3.StringMatcher_SafeRegex{SafeRegex: &matcherv3.RegexMatcher{Regex: pattern}}}
}

func header(name string, value *matcherv3.StringMatcher) *routev3.HeaderMatcher {
	return &routev3.HeaderMatcher{Name: name, HeaderMatchSpecifier: &routev3.HeaderMatcher_StringMatch{StringMatch: value}}
}
