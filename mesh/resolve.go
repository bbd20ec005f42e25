package mesh

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// ClusterDomain is the usual one. Names below it are among those that a Service is called
// by; its addresses are found by a name that goes without it.
const ClusterDomain = "cluster.local"

// Resolve makes the model of a document that has its defaults and is valid. What
// validation of a single field cannot see is an error here: names and hosts that two
// destinations claim, and routes to what is not there.
//
// The same document gives the same model, in whatever order its ports and destinations
// are.
func Resolve(document *v1alpha1.MeshService) (*Service, error) {
	s := &Service{
		Name: document.Name, Namespace: document.Namespace, Number: document.Generation,
		RefuseUndeclared: document.Spec.UndeclaredEgress == v1alpha1.UndeclaredRefused,
	}
	if created := document.CreationTimestamp; !created.IsZero() {
		s.Created = created.Unix()
	}
	if statistics := document.Spec.Statistics; statistics != nil {
		s.Statistics = Statistics{Destinations: Level(statistics.Destinations), MaxSeries: int(value(statistics.MaxSeries))}
	}
	for _, port := range document.Spec.Inbound {
		s.Inbound = append(s.Inbound, inbound(port))
	}
	for _, to := range document.Spec.Egress {
		s.Egress = append(s.Egress, destination(to, document.Namespace))
	}
	slices.SortFunc(s.Inbound, func(a, b Inbound) int { return cmp.Compare(a.Port, b.Port) })
	slices.SortFunc(s.Egress, func(a, b Destination) int { return cmp.Compare(a.Name, b.Name) })
	if err := s.check(); err != nil {
		return nil, fmt.Errorf("resolving MeshService %s/%s: %w", s.Namespace, s.Name, err)
	}
	return s, nil
}

func inbound(port v1alpha1.InboundPort) Inbound {
	p := Inbound{
		Port: uint16(port.Port), TCP: port.Protocol == v1alpha1.InboundTCP,
		Timeout:     duration(port.Timeout),
		MaxRequests: count(port.MaxConcurrentRequests), MaxConnections: count(port.MaxConnections),
		MaxStreams:       count(port.MaxConcurrentStreams),
		MaxConnectionAge: InboundAge{Given: port.MaxConnectionAge != nil, Limit: duration(port.MaxConnectionAge)},
	}
	if a := port.AdaptiveConcurrency; a != nil {
		p.Adaptive = Adaptive{
			Min: count(a.MinConcurrency), Max: count(a.MaxConcurrency),
			HeadroomPercent: count(a.LatencyHeadroomPercent), MeasureEvery: duration(a.MeasureEvery),
		}
	}
	if r := port.RateLimit; r != nil {
		p.Rate = Rate{Requests: uint32(r.Requests), Burst: count(r.Burst), Per: duration(r.Per)}
	}
	return p
}

func destination(to v1alpha1.Destination, namespace string) Destination {
	d := Destination{
		Name: to.Name, Port: uint16(to.Port), Protocol: Protocol(to.Protocol),
		Timeout:          duration(to.Timeout),
		Retries:          retries(to.Retries),
		MaxConnectionAge: duration(to.MaxConnectionAge), IdleTimeout: duration(to.IdleTimeout), ConnectTimeout: duration(to.ConnectTimeout),
		DNSRefresh: duration(to.DNSRefresh),
	}
	if to.Service != nil {
		d.Address, d.Hosts = serviceHosts(to.Service.Name, cmp.Or(to.Service.Namespace, namespace), namespace)
	} else {
		d.Address = strings.ToLower(strings.TrimSuffix(to.Host, "."))
		d.Hosts = []string{d.Address}
	}
	if b := to.Breakers; b != nil {
		d.MaxConnections, d.MaxPending, d.MaxRequests = count(b.MaxConnections), count(b.MaxPendingRequests), count(b.MaxRequests)
	}
	if o := to.OutlierDetection; o != nil {
		d.Outliers = Outliers{
			ConsecutiveErrors: count(o.ConsecutiveErrors), EjectionTime: duration(o.EjectionTime), MaxEjectedPercent: count(o.MaxEjectedPercent),
		}
	}
	for _, r := range to.Routes {
		d.Routes = append(d.Routes, route(r))
	}
	return d
}

// serviceHosts are the names of a Service: the one to look it up by, and all that a pod
// in a namespace may call it by. The first goes without the cluster's domain, which the
// pod's own search list adds: a cluster may have another one.
func serviceHosts(name, of, from string) (address string, hosts []string) {
	address = name + "." + of + ".svc"
	if of == from {
		hosts = append(hosts, name)
	}
	return address, append(hosts, name+"."+of, address, address+"."+ClusterDomain)
}

func retries(r *v1alpha1.Retries) Retries {
	if r == nil {
		return Retries{}
	}
	methods := slices.Clone(r.SafeMethods)
	slices.Sort(methods)
	return Retries{
		Attempts:       count(r.Attempts),
		ConnectFailure: slices.Contains(r.When, v1alpha1.RetryConnectFailure),
		RefusedStream:  slices.Contains(r.When, v1alpha1.RetryRefusedStream),
		Reset:          slices.Contains(r.When, v1alpha1.RetryReset),
		Unavailable:    slices.Contains(r.When, v1alpha1.RetryUnavailable),
		SafeMethods:    slices.Compact(methods), PerTryTimeout: duration(r.PerTryTimeout), BudgetPercent: count(r.BudgetPercent),
	}
}

func route(r v1alpha1.Route) Route {
	resolved := Route{To: r.To}
	for _, h := range r.Headers {
		resolved.Headers = append(resolved.Headers, Header{strings.ToLower(h.Name), h.Value})
	}
	if r.GRPC != nil {
		resolved.Service, resolved.Methods = r.GRPC.Service, r.GRPC.Methods
	}
	if f := r.Fallback; f != nil {
		resolved.Fallback, resolved.After = Fallback(f.When), duration(f.After)
	}
	return resolved
}

// check finds what Envoy would reject as a whole.
func (s *Service) check() error {
	var problems []error
	ports, names, called := map[uint16]bool{}, map[string]bool{}, map[string]string{}
	for _, p := range s.Inbound {
		if ports[p.Port] {
			problems = append(problems, fmt.Errorf("inbound port %d is listed twice", p.Port))
		}
		ports[p.Port] = true
	}
	for _, d := range s.Egress {
		if names[d.Name] {
			problems = append(problems, fmt.Errorf("two destinations are named %q", d.Name))
		}
		names[d.Name] = true
		for _, key := range d.claims() {
			if other, taken := called[key]; taken {
				problems = append(problems, fmt.Errorf("destinations %q and %q are both %s", other, d.Name, key))
				break
			}
			called[key] = d.Name
		}
		for n, r := range d.Routes {
			to, found := s.Destination(r.To)
			if !found || to.Name == d.Name || !to.Protocol.IsHTTP() || !d.Protocol.IsHTTP() {
				problems = append(problems, fmt.Errorf("route %d of destination %q leads to %q: it has to lead to another destination, and both have to speak HTTP", n, d.Name, r.To))
			}
		}
	}
	return errors.Join(problems...)
}

// claims are what only one destination can have, in words: requests are told apart by
// their host, TLS by its server name, the rest by the port alone.
func (d Destination) claims() []string {
	if d.Protocol == TCP {
		return []string{fmt.Sprintf("what goes to port %d and is no HTTP", d.Port)}
	}
	kind := "HTTP"
	if d.Protocol == TLS {
		kind = "TLS"
	}
	var claims []string
	for _, host := range d.Hosts {
		claims = append(claims, fmt.Sprintf("%s to %s:%d", kind, host, d.Port))
	}
	return claims
}

// value of a pointer that may be nil.
func value[T any](p *T) T {
	if p == nil {
		return *new(T)
	}
	return *p
}

// count is a number that validation has found to be none below 0.
func count(p *int32) uint32 { return uint32(value(p)) }

func duration(p *metav1.Duration) time.Duration { return value(p).Duration }
