package mesh

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// Change is one difference between two models, in words.
type Change struct {
	// Subject is what has changed: a port, a destination, the whole.
	Subject string
	// What has become of it, as "timeout 2s -> 1s".
	What string
	// Drains says which open connections are ended: those of HTTP behind a response,
	// others at the end of the time to drain. Empty where all of them go on.
	Drains string
}

// String is the change in one line.
func (c Change) String() string {
	line := c.Subject + ": " + c.What
	if c.Drains != "" {
		line += " (" + c.Drains + ")"
	}
	return line
}

// Diff is what changes for an app and its callers from one model of a service to
// another, in the order of the document: ports, destinations, the rest.
func Diff(from, to *Service) []Change {
	changes := diffInbound(from, to)
	changes = append(changes, diffEgress(from, to)...)
	if from.RefuseUndeclared != to.RefuseUndeclared {
		what := map[bool]string{false: "Passthrough", true: "Refused"}
		changes = append(changes, Change{
			"undeclared egress", what[from.RefuseUndeclared] + " -> " + what[to.RefuseUndeclared],
			"open connections to undeclared destinations that are no HTTP are drained once",
		})
	}
	return append(changes, compare("statistics", statisticsFields(from.Statistics), statisticsFields(to.Statistics), "")...)
}

// setting is one field in words.
type setting struct {
	name, value string
	// drains: what is open has to be ended for it to change.
	drains bool
}

// compare settings of the same names in the same order. Why says what is drained.
func compare(subject string, from, to []setting, drained string) []Change {
	var changes []Change
	for n := range to {
		if from[n].value == to[n].value {
			continue
		}
		c := Change{Subject: subject, What: fmt.Sprintf("%s %s -> %s", to[n].name, from[n].value, to[n].value)}
		if from[n].drains || to[n].drains {
			c.Drains = drained
		}
		changes = append(changes, c)
	}
	return changes
}

func diffInbound(from, to *Service) []Change {
	var changes []Change
	for _, p := range from.Inbound {
		if !slices.ContainsFunc(to.Inbound, func(q Inbound) bool { return p.Port == q.Port }) {
			changes = append(changes, Change{port(p), "is no longer listed, and passed through", drainedOnce})
		}
	}
	for _, p := range to.Inbound {
		n := slices.IndexFunc(from.Inbound, func(q Inbound) bool { return p.Port == q.Port })
		if n < 0 {
			what := "is new" + listed(inboundFields(p), inboundFields(Inbound{}))
			changes = append(changes, Change{port(p), what, "it holds for connections made from now on"})
			continue
		}
		changes = append(changes, compare(port(p), inboundFields(from.Inbound[n]), inboundFields(p), drainedOnce)...)
	}
	return changes
}

const drainedOnce = "open connections are drained once"

func port(p Inbound) string { return fmt.Sprintf("port %d", p.Port) }

func inboundFields(p Inbound) []setting {
	protocol, age := "HTTP", "the sidecar's own"
	if p.TCP {
		protocol = "TCP"
	}
	if p.MaxConnectionAge.Given {
		age = amount(p.MaxConnectionAge.Limit, "any")
	}
	return []setting{
		{"protocol", protocol, true},
		{"timeout", amount(p.Timeout, "none"), false},
		{"max concurrent requests", limit(p.MaxRequests), false},
		{"max connections", limit(p.MaxConnections), false},
		{"streams of a connection to the app", limit(p.MaxStreams), false},
		{"streams of a client's connection", limit(p.ClientStreams()), true},
		{"max connection age", age, true},
		{"adaptive concurrency", adaptiveText(p.Adaptive), true},
		{"rate limit", rateText(p.Rate), true},
	}
}

func adaptiveText(a Adaptive) string {
	if a.Max == 0 {
		return "off"
	}
	return fmt.Sprintf("%d to %d requests, %d%% headroom, measured every %s", a.Min, a.Max, a.HeadroomPercent, amount(a.MeasureEvery, ""))
}

func rateText(r Rate) string {
	if r.Requests == 0 {
		return "none"
	}
	return fmt.Sprintf("%d per %s, %d at once", r.Requests, amount(r.Per, ""), r.Burst)
}

func diffEgress(from, to *Service) []Change {
	var changes []Change
	for _, d := range from.Egress {
		if _, there := to.Destination(d.Name); !there {
			c := Change{Subject: d.Name, What: "is no longer a destination: " + called(d) + " is " + successor(d, to)}
			if !d.Protocol.IsHTTP() {
				c.Drains = drainedOnce
			}
			changes = append(changes, c)
		}
	}
	for _, d := range to.Egress {
		before, there := from.Destination(d.Name)
		if !there {
			changes = append(changes, Change{Subject: d.Name, What: "new destination " + called(d) + listed(withRoutes(d), withRoutes(usual(d)))})
			continue
		}
		changes = append(changes, diffNames(before, d)...)
		changes = append(changes, compare(d.Name, destinationFields(before), destinationFields(d), drainedOnce)...)
		changes = append(changes, diffRoutes(before, d)...)
	}
	return changes
}

// successor is what becomes of the address of a destination that is gone. TCP takes all that
// comes to its port, whatever the host; HTTP as well, unless that is known by hosts there.
func successor(d Destination, in *Service) string {
	var others []Destination
	for _, other := range in.Egress {
		if other.Port == d.Port {
			others = append(others, other)
		}
	}
	byHost := slices.ContainsFunc(others, func(other Destination) bool { return other.Protocol.IsHTTP() })
	named := func(other Destination) bool {
		missing := func(host string) bool { return !slices.Contains(other.Hosts, host) }
		return other.Protocol != TCP && !slices.ContainsFunc(d.Hosts, missing)
	}
	anyHost := func(other Destination) bool {
		return other.Protocol == TCP && (!byHost || !d.Protocol.IsHTTP())
	}
	for _, takes := range []func(Destination) bool{named, anyHost} {
		if n := slices.IndexFunc(others, takes); n >= 0 {
			return others[n].Name + " now, in statistics, too"
		}
	}
	return "undeclared"
}

// diffNames tells of a destination that is found at the same address as before, and
// called by other names: the host of a Service, and the Service itself. Where the
// address is another, so are the names.
func diffNames(from, to Destination) []Change {
	if from.Address != to.Address {
		return nil
	}
	names := func(d Destination) []setting {
		return []setting{{"called", strings.Join(d.Hosts, ", "), d.Protocol == TLS}}
	}
	return compare(to.Name, names(from), names(to), drainedOnce)
}

// diffRoutes leaves out the routes that stay at both ends of the list: there may be many,
// and one of them is changed. The number is that of the document.
func diffRoutes(from, to Destination) []Change {
	old, now := from.Routes, to.Routes
	same := func(a, b Route) bool { return routeText(a) == routeText(b) }
	first := 0
	for first < min(len(old), len(now)) && same(old[first], now[first]) {
		first++
	}
	old, now = old[first:], now[first:]
	for len(old) > 0 && len(now) > 0 && same(old[len(old)-1], now[len(now)-1]) {
		old, now = old[:len(old)-1], now[:len(now)-1]
	}
	name := "routes"
	if max(len(old), len(now)) < max(len(from.Routes), len(to.Routes)) {
		name = fmt.Sprintf("routes[%d]", first)
	}
	return compare(to.Name, []setting{{name, routesText(old), false}}, []setting{{name, routesText(now), false}}, "")
}

// usual is a destination of that address and protocol about which nothing else is said.
func usual(d Destination) Destination {
	document := v1alpha1.MeshService{Spec: v1alpha1.MeshServiceSpec{Egress: []v1alpha1.Destination{{Protocol: v1alpha1.Protocol(d.Protocol)}}}}
	v1alpha1.DefaultMeshService(&document)
	u := destination(document.Spec.Egress[0], "")
	u.Address, u.Port, u.Protocol = d.Address, d.Port, HTTP
	return u
}

// called is how an app calls a destination in whole.
func called(d Destination) string { return fmt.Sprintf("%s:%d", d.Address, d.Port) }

func destinationFields(d Destination) []setting {
	bytes := !d.Protocol.IsHTTP()
	return []setting{
		// A port tells TLS and TCP from other connections, and a server name tells TLS.
		{"address", d.Address, d.Protocol == TLS},
		{"port", strconv.Itoa(int(d.Port)), bytes},
		{"protocol", string(d.Protocol), bytes},
		{"timeout", amount(d.Timeout, "none"), false},
		{"retries", retriesText(d.Retries), false},
		{"max connections", limit(d.MaxConnections), false},
		{"max pending requests", limit(d.MaxPending), false},
		{"max requests", limit(d.MaxRequests), false},
		{"outlier detection", outliersText(d.Outliers), false},
		{"max connection age", amount(d.MaxConnectionAge, "any"), false},
		{"idle timeout", amount(d.IdleTimeout, "none"), false},
		{"connect timeout", amount(d.ConnectTimeout, "none"), false},
		{"DNS refresh", amount(d.DNSRefresh, "none"), false},
	}
}

// withRoutes are the fields of a destination that is new.
func withRoutes(d Destination) []setting {
	return append(destinationFields(d), setting{"routes", routesText(d.Routes), false})
}

func retriesText(r Retries) string {
	if r.Attempts == 0 {
		return "none"
	}
	var when []string
	for _, condition := range []struct {
		asked bool
		name  string
	}{{r.ConnectFailure, "ConnectFailure"}, {r.RefusedStream, "RefusedStream"}, {r.Reset, "Reset"}, {r.Unavailable, "Unavailable"}} {
		if condition.asked {
			when = append(when, condition.name)
		}
	}
	text := fmt.Sprintf("%d on %s, %d%% of requests at most", r.Attempts, strings.Join(when, ", "), r.BudgetPercent)
	if r.PerTryTimeout > 0 {
		text += ", each " + amount(r.PerTryTimeout, "")
	}
	if len(r.SafeMethods) > 0 {
		text += ", safe methods " + strings.Join(r.SafeMethods, ", ")
	}
	return text
}

func outliersText(o Outliers) string {
	if o.ConsecutiveErrors == 0 {
		return "off"
	}
	return fmt.Sprintf("after %d errors for %s, %d%% of addresses at most", o.ConsecutiveErrors, amount(o.EjectionTime, ""), o.MaxEjectedPercent)
}

func routesText(routes []Route) string {
	if len(routes) == 0 {
		return "none"
	}
	texts := make([]string, len(routes))
	for n, r := range routes {
		texts[n] = routeText(r)
	}
	return strings.Join(texts, " ")
}

func routeText(r Route) string {
	var of []string
	for _, h := range r.Headers {
		of = append(of, h.Name+"="+h.Value)
	}
	if r.Service != "" {
		methods := "*"
		if len(r.Methods) > 0 {
			methods = strings.Join(r.Methods, "|")
		}
		of = append(of, r.Service+"/"+methods)
	}
	text := "[" + strings.Join(of, " ") + " to " + r.To
	switch r.Fallback {
	case FallbackAbsent:
		text += ", back when it is absent"
	case FallbackFails:
		text += ", back when it fails or takes " + amount(r.After, "")
	case NoFallback:
	}
	return text + "]"
}

func statisticsFields(s Statistics) []setting {
	return []setting{{"destinations", string(s.Destinations), false}, {"max series", strconv.Itoa(s.MaxSeries), false}}
}

// listed are the settings that are not as they are where nobody gives them.
func listed(settings, defaults []setting) string {
	var said []string
	for n, s := range settings {
		if s.value != defaults[n].value {
			said = append(said, s.name+" "+s.value)
		}
	}
	if len(said) == 0 {
		return ""
	}
	return " with " + strings.Join(said, ", ")
}

func limit(n uint32) string {
	if n == 0 {
		return "none"
	}
	return strconv.FormatUint(uint64(n), 10)
}

// amount is a duration as people write it, 1m rather than 1m0s.
func amount(d time.Duration, none string) string {
	if d == 0 {
		return none
	}
	text := d.String()
	if strings.HasSuffix(text, "m0s") {
		text = strings.TrimSuffix(text, "0s")
	}
	if strings.HasSuffix(text, "h0m") {
		text = strings.TrimSuffix(text, "0m")
	}
	return text
}
