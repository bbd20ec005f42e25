package mesh

import (
	"cmp"
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

// Resolve makes the model of a document. A document that is not valid is an error,
// v1alpha1.ValidateMeshService says which; the defaults may have been filled in before,
// or not.
//
// The same document gives the same model, in whatever order its ports and destinations
// are.
func Resolve(document *v1alpha1.MeshService) (*Service, error) {
	document = document.DeepCopy()
	v1alpha1.DefaultMeshService(document)
	if problems := v1alpha1.ValidateMeshService(document); len(problems) > 0 {
		return nil, fmt.Errorf("resolving MeshService %s/%s: %w", document.Namespace, document.Name, problems.ToAggregate())
	}
	s := &Service{
		Name: document.Name, Namespace: document.Namespace, Number: document.Generation,
		RefuseUndeclared: document.Spec.UndeclaredEgress == v1alpha1.UndeclaredRefused,
	}
	if created := document.CreationTimestamp; !created.IsZero() {
		s.Created = created.Unix()
	}
	statistics := document.Spec.Statistics
	s.Statistics = Statistics{Destinations: Level(statistics.Destinations), MaxSeries: int(value(statistics.MaxSeries))}
	for _, port := range document.Spec.Inbound {
		s.Inbound = append(s.Inbound, inbound(port))
	}
	bounds := document.Spec.ConnectBounds()
	for _, to := range document.Spec.Egress {
		d := destination(to, document.Namespace)
		if bound, bounded := bounds[d.Name]; bounded {
			d.ConnectTimeout = min(d.ConnectTimeout, bound.Most)
		}
		s.Egress = append(s.Egress, d)
	}
	slices.SortFunc(s.Inbound, func(a, b Inbound) int { return cmp.Compare(a.Port, b.Port) })
	slices.SortFunc(s.Egress, func(a, b Destination) int { return cmp.Compare(a.Name, b.Name) })
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
		Address:    address(to, namespace), Hosts: to.Hosts(namespace),
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

// address is the name to look a destination up by. That of a Service goes without the
// cluster's domain, which the pod's own search list adds: a cluster may have another one.
func address(to v1alpha1.Destination, namespace string) string {
	if to.Service == nil {
		return to.Host
	}
	of := cmp.Or(to.Service.Namespace, namespace)
	if of == "" {
		// Not even the document's is known: it is the pod's.
		return to.Service.Name
	}
	return to.Service.Name + "." + of + ".svc"
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
		SafeMethods:    methods, PerTryTimeout: duration(r.PerTryTimeout), BudgetPercent: count(r.BudgetPercent),
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
