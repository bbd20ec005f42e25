package v1alpha1

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pillion-mesh/pillion/nearest"
)

const (
	// MaxRoutes of a destination.
	MaxRoutes = 32
	// MaxHeaders of a route.
	MaxHeaders = 8
	// MaxMethods of a route or of retries.
	MaxMethods = 128
	// MaxValue is the length of a header's value, and of the names in a route.
	MaxValue = 256
)

const (
	// GRPCServicePattern is what grpc.service has to look like.
	GRPCServicePattern = `^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*$`
	// GRPCMethodPattern is what an entry of grpc.methods has to look like.
	GRPCMethodPattern = `^[A-Za-z_][A-Za-z0-9_]*$`
	// SafeMethodPattern is what an entry of retries.safeMethods has to look like.
	SafeMethodPattern = `^[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*/[A-Za-z_][A-Za-z0-9_]*$`
	// HeaderNamePattern is what a header's name has to look like. RFC 9110 has the
	// backtick as well, which cannot stand in the marker that the schema is made of.
	HeaderNamePattern = `^[A-Za-z0-9!#$%&'*+.^_|~-]+$`
	// HeaderValuePattern is what a header's value has to look like: what can be seen,
	// with spaces within.
	HeaderValuePattern = `^[\x21-\x7E]([\x20-\x7E]*[\x21-\x7E])?$`
)

var (
	grpcService = regexp.MustCompile(GRPCServicePattern)
	grpcMethod  = regexp.MustCompile(GRPCMethodPattern)
	safeMethod  = regexp.MustCompile(SafeMethodPattern)
	headerName  = regexp.MustCompile(HeaderNamePattern)
	headerValue = regexp.MustCompile(HeaderValuePattern)
)

// targets are the destinations that routes may lead to.
type targets struct {
	egress []Destination
	names  map[string]int
	// suggestions may still be made: each compares with all names.
	suggestions int
}

// maxSuggestions in a document are more than anybody reads.
const maxSuggestions = 20

func newTargets(egress []Destination) *targets {
	t := &targets{egress: egress, names: make(map[string]int, len(egress)), suggestions: maxSuggestions}
	for n := range egress {
		if _, used := t.names[egress[n].Name]; !used {
			t.names[egress[n].Name] = n
		}
	}
	return t
}

func (t *targets) validateRoutes(from *Destination, path *field.Path) field.ErrorList {
	errs := validateLength(len(from.Routes), MaxRoutes, path)
	if errs != nil {
		return errs
	}
	for n := range from.Routes {
		route, at := &from.Routes[n], path.Index(n)
		errs = slices.Concat(errs,
			validateMatch(route, from.Protocol, at),
			t.validateTo(from, route, at.Child("to")),
			validateFallback(route.Fallback, from, at.Child("fallback")),
		)
		if first := coveredBy(from.Routes[:n], route); first >= 0 {
			errs = append(errs, field.Invalid(at, route.To, fmt.Sprintf("can never match: %s, which comes first, matches all of its requests", path.Index(first))))
		}
	}
	return errs
}

func validateMatch(route *Route, protocol Protocol, path *field.Path) field.ErrorList {
	if len(route.Headers) == 0 && route.GRPC == nil {
		return field.ErrorList{field.Required(path, "headers or grpc: a route for all requests would take the place of the destination")}
	}
	at := path.Child("headers")
	errs := validateLength(len(route.Headers), MaxHeaders, at)
	if errs != nil {
		return errs
	}
	seen := map[string]int{}
	for n := range route.Headers {
		header, at := &route.Headers[n], at.Index(n)
		errs = append(errs, validateHeader(header, at)...)
		name := strings.ToLower(header.Name)
		if first, used := seen[name]; used && name != "" {
			errs = append(errs, field.Invalid(at.Child("name"), header.Name, fmt.Sprintf("is the header of headers[%d], too: all have to match", first)))
		} else {
			seen[name] = n
		}
	}
	if route.GRPC != nil {
		errs = append(errs, validateGRPC(route.GRPC, protocol, path.Child("grpc"))...)
	}
	return errs
}

// ownHeaders begin with this: what sidecars set aside and tell each other.
const ownHeaders = "x-pillion-"

// goneHeaders are no longer there when Envoy looks for a request's route: package bootstrap
// has it take off those by which a request would give it orders, and sets aside what it
// would change; the others are for one connection only. Those for one connection that go on
// with an upgrade or gRPC trailers (connection, upgrade, te) can match.
func goneHeaders() []string {
	return []string{
		"x-forwarded-proto",
		"x-envoy-upstream-rq-timeout-ms", "x-envoy-upstream-rq-per-try-timeout-ms", "x-envoy-upstream-rq-timeout-alt-response",
		"x-envoy-upstream-stream-duration-ms", "x-envoy-upstream-alt-stat-name",
		"x-envoy-retry-on", "x-envoy-retry-grpc-on", "x-envoy-max-retries", "x-envoy-retriable-status-codes",
		"x-envoy-retriable-header-names", "x-envoy-hedge-on-per-try-timeout",
		"keep-alive", "proxy-connection", "transfer-encoding",
	}
}

func validateHeader(header *HeaderMatch, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	name, value := path.Child("name"), path.Child("value")
	switch {
	case header.Name == "":
		errs = append(errs, field.Required(name, "a header as x-sandbox"))
	case strings.EqualFold(header.Name, "host"):
		errs = append(errs, field.Invalid(name, header.Name, "must not be the host: that is what the destination is known by"))
	case strings.HasPrefix(strings.ToLower(header.Name), ownHeaders):
		errs = append(errs, field.Invalid(name, header.Name, "must not begin with "+ownHeaders+": such headers are the sidecar's own"))
	case slices.Contains(goneHeaders(), strings.ToLower(header.Name)):
		errs = append(errs, field.Invalid(name, header.Name, "can never match: the sidecar takes this header off before it looks at routes"))
	case strings.HasPrefix(header.Name, ":"):
		errs = append(errs, field.Invalid(name, header.Name, "is no header: routes go by headers and by gRPC methods, not by a request's path or method"))
	case len(header.Name) > MaxValue || !headerName.MatchString(header.Name):
		errs = append(errs, field.Invalid(name, header.Name, fmt.Sprintf("must be the name of a header as x-sandbox: letters, digits and any of !#$%%&'*+-.^_|~, at most %d", MaxValue)))
	}
	switch {
	case header.Value == "":
		errs = append(errs, field.Required(value, "the value that the header has, to the letter"))
	case len(header.Value) > MaxValue || !headerValue.MatchString(header.Value):
		errs = append(errs, field.Invalid(value, header.Value, fmt.Sprintf("must be what can stand in a header: ASCII without control characters or spaces at its ends, at most %d", MaxValue)))
	}
	return errs
}

func validateGRPC(match *GRPCMatch, protocol Protocol, path *field.Path) field.ErrorList {
	if protocol == ProtocolHTTP1 {
		return field.ErrorList{field.Forbidden(path, "does not go with protocol HTTP1: gRPC needs HTTP/2")}
	}
	var errs field.ErrorList
	switch at := path.Child("service"); {
	case match.Service == "":
		errs = append(errs, field.Required(at, "a gRPC service with its package, as shop.v1.Cart"))
	case len(match.Service) > MaxValue || !grpcService.MatchString(match.Service):
		errs = append(errs, field.Invalid(at, match.Service, fmt.Sprintf("must be a gRPC service with its package, as shop.v1.Cart, at most %d%s", MaxValue, meantGRPC(match.Service))))
	}
	at := path.Child("methods")
	if match.Methods != nil && len(match.Methods) == 0 {
		errs = append(errs, field.Required(at, "give the names of methods, or leave it out for all"))
	}
	return append(errs, validateNames(match.Methods, grpcMethod, "the name of a method as GetCart", at)...)
}

// validateNames checks a list of names that are of one form and distinct.
func validateNames(names []string, form *regexp.Regexp, accepted string, path *field.Path) field.ErrorList {
	errs := validateLength(len(names), MaxMethods, path)
	if errs != nil {
		return errs
	}
	seen := map[string]int{}
	for n, name := range names {
		if len(name) > MaxValue || !form.MatchString(name) {
			errs = append(errs, field.Invalid(path.Index(n), name, fmt.Sprintf("must be %s, at most %d%s", accepted, MaxValue, meantMethod(name, form))))
			continue
		}
		if first, used := seen[name]; used {
			errs = append(errs, field.Invalid(path.Index(n), name, fmt.Sprintf("is given at %s already", path.Index(first))))
			continue
		}
		seen[name] = n
	}
	return errs
}

// validateTo checks where a route leads. Requests go by one route only: those of the
// destination that it leads to would not be followed, so there are none.
func (t *targets) validateTo(from *Destination, route *Route, path *field.Path) field.ErrorList {
	if route.To == "" {
		return field.ErrorList{field.Required(path, "the name of another destination of this document")}
	}
	if route.To == from.Name {
		return field.ErrorList{field.Invalid(path, route.To, "must be another destination than the one that the route is of")}
	}
	n, known := t.names[route.To]
	if !known {
		return field.ErrorList{field.Invalid(path, route.To, "is no destination of this document"+t.suggest(from, route.To))}
	}
	to := &t.egress[n]
	switch {
	case !to.Protocol.IsHTTP():
		return field.ErrorList{field.Invalid(path, route.To, fmt.Sprintf("must be a destination of requests; egress[%d] (%s) is of protocol %s", n, to.Name, to.Protocol))}
	case to.Protocol == ProtocolHTTP1 && (route.GRPC != nil || from.Protocol == ProtocolGRPC):
		return field.ErrorList{field.Invalid(path, route.To, fmt.Sprintf("must speak HTTP/2, which gRPC needs; egress[%d] (%s) is of protocol HTTP1", n, to.Name))}
	case len(to.Routes) > 0:
		return field.ErrorList{field.Invalid(path, route.To, fmt.Sprintf("must have no routes of its own, as egress[%d] (%s) has: they would not be followed", n, to.Name))}
	}
	return nil
}

// suggest names the destination that was probably meant, or some that there are.
func (t *targets) suggest(from *Destination, name string) string {
	if t.suggestions--; t.suggestions < 0 {
		return ""
	}
	var names []string
	for n := range t.egress {
		if other := t.egress[n].Name; other != "" && other != from.Name {
			names = append(names, other)
		}
	}
	if near, ok := nearest.Name(name, names); ok {
		return fmt.Sprintf("; did you mean %q?", near)
	}
	if shown := 10; len(names) > shown {
		return fmt.Sprintf("; others are %s and %d more", quoted(names[:shown]), len(names)-shown)
	}
	return "; others are " + quoted(names)
}

func validateFallback(fallback *Fallback, of *Destination, path *field.Path) field.ErrorList {
	if fallback == nil {
		return nil
	}
	errs := validateWord("spec.egress[].routes[].fallback.when", path.Child("when"), &fallback.When)
	after := fallback.After
	if after == nil {
		return errs
	}
	at := path.Child("after")
	if fallback.When == FallbackAbsent {
		return append(errs, field.Forbidden(at, "goes with when Fails only: what is absent is known at once"))
	}
	errs = append(errs, validateMoment(after, at)...)
	if of.Timeout != nil && of.Timeout.Duration > 0 && after.Duration >= of.Timeout.Duration {
		errs = append(errs, field.Invalid(at, after.Duration.String(), fmt.Sprintf("must be below the destination's timeout, %s: nothing of it would be left for the fallback", of.Timeout.Duration)))
	}
	return errs
}

// coveredBy finds the earlier route because of which one can never match, the last
// of them where it takes several; -1 if there is none.
func coveredBy(earlier []Route, route *Route) int {
	var methods []string
	if route.GRPC != nil {
		methods = slices.Clone(route.GRPC.Methods)
	}
	for n := range earlier {
		first := &earlier[n]
		if !weaker(first.Headers, route.Headers) {
			continue
		}
		switch {
		case first.GRPC == nil:
			if len(first.Headers) > 0 {
				return n
			}
		case route.GRPC == nil || first.GRPC.Service == "" || first.GRPC.Service != route.GRPC.Service:
		case len(first.GRPC.Methods) == 0:
			return n
		case len(methods) > 0:
			methods = slices.DeleteFunc(methods, func(m string) bool { return slices.Contains(first.GRPC.Methods, m) })
			if len(methods) == 0 {
				return n
			}
		}
	}
	return -1
}

// weaker says whether all requests with the other headers have these. What is not given,
// or could not be read, is a mistake of its own and takes no requests.
func weaker(headers, other []HeaderMatch) bool {
	for _, header := range headers {
		if header.Name == "" || header.Value == "" || !slices.ContainsFunc(other, func(o HeaderMatch) bool {
			return strings.EqualFold(o.Name, header.Name) && o.Value == header.Value
		}) {
			return false
		}
	}
	return true
}
