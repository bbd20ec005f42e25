package v1alpha1

import (
	"slices"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// routes are about what is given in one place and holds in another: a request that a
// route leads elsewhere has the timeout and the retries of the destination that the app
// called, and the limits of the one that it goes to.
func (w *warnings) routes(egress []Destination, path *field.Path) {
	// leads is the first route to a destination, and fallsBack the first with a fallback.
	leads, fallsBack := map[string]*field.Path{}, map[string]*field.Path{}
	first := func(of map[string]*field.Path, to string, at *field.Path) {
		if of[to] == nil {
			of[to] = at
		}
	}
	for n := range egress {
		for m := range egress[n].Routes {
			route, at := &egress[n].Routes[m], path.Index(n).Child("routes").Index(m)
			first(leads, route.To, at)
			if route.Fallback == nil {
				continue
			}
			first(fallsBack, route.To, at)
			if route.Fallback.When == FallbackFails {
				w.fallback(&egress[n], route, at)
			}
		}
		w.besideFallback(&egress[n], path.Index(n))
	}
	for n := range egress {
		to, at := &egress[n], path.Index(n)
		if route := fallsBack[to.Name]; route != nil && to.Breakers != nil {
			becomes := "gets 503"
			if to.Breakers.MaxRequests == nil && to.Breakers.MaxPendingRequests == nil {
				becomes = "waits for a connection"
			}
			w.add(at.Child("breakers"), "%s leads here with a fallback: a request beyond them %s and does not fall back", route, becomes)
		}
		if route := leads[to.Name]; route != nil {
			w.notOfRoutes(to, route, at)
		}
	}
}

// notOfRoutes are the fields of a route's target that are for what the app itself calls
// it for.
func (w *warnings) notOfRoutes(to *Destination, route, path *field.Path) {
	for _, f := range []given{{"timeout", to.Timeout != nil && to.Timeout.Duration > 0}, {"retries", to.Retries != nil}} {
		if f.is {
			w.add(path.Child(f.name), "is not for the requests that %s leads here: they have what the destination has that the app called", route)
		}
	}
}

// besideFallback is about retries that a request with a fallback does not have. The
// safe methods of Fails are a reason of their own to give them.
func (w *warnings) besideFallback(of *Destination, path *field.Path) {
	if of.Retries == nil || len(of.Retries.SafeMethods) > 0 {
		return
	}
	if n := slices.IndexFunc(of.Routes, func(r Route) bool { return r.Fallback != nil }); n >= 0 {
		w.add(path.Child("retries"), "are not for the requests of %s: a fallback is the one retry that they have", path.Child("routes").Index(n))
	}
}

func (w *warnings) fallback(of *Destination, route *Route, path *field.Path) {
	grpc := of.Protocol == ProtocolGRPC || route.GRPC != nil
	named := route.GRPC != nil && len(route.GRPC.Methods) > 0 || of.Retries != nil && len(of.Retries.SafeMethods) > 0
	if grpc && !named {
		w.add(path.Child("fallback", "when"), "Fails is for gRPC methods that are named, in grpc.methods or retries.safeMethods: for all others it is Absent, since they might be carried out twice")
	}
}

// connecting is about a connectTimeout that is not the one: the bounds of a destination
// are for everybody who calls it.
func (w *warnings) connecting(spec *MeshServiceSpec, path *field.Path) {
	bounds := spec.ConnectBounds()
	for n := range spec.Egress {
		to := &spec.Egress[n]
		given := to.ConnectTimeout.Duration
		if bound, bounded := bounds[to.Name]; bounded && given != defaultConnectTimeout && given > bound.Most {
			w.add(path.Index(n).Child("connectTimeout"), "%s is longer than %s, which bounds connections to %s for everybody: it is %s",
				shortDuration(given), bound.Why, to.Name, shortDuration(bound.Most))
		}
	}
}
