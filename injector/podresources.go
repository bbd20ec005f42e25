package injector

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// podResource is one resource of those that a pod gives for itself as a whole.
type podResource struct {
	name string
	// of finds it in the pod's or a container's resources.
	of func(*Quantities) jsontext.Value
	// request and limit are the sidecar's; without a limit, its request counts.
	request, limit *resource.Quantity
}

// raisePodResources adds the sidecar's resources to those that the pod gives for
// itself as a whole. Its owner sized them for the app: without this, kube-apiserver
// refuses a pod whose containers now request more than it does, or the app has
// less than it was given. What the pod does not limit or request stays so.
func (v *view) raisePodResources(s *Sidecar, to *edits) {
	given := v.pod.Spec.Resources
	if s.PodResources == v1alpha1.PodResourcesKeep || (given.Requests == nil && given.Limits == nil) {
		return
	}
	requests, limits := s.Resources.Requests, s.Resources.Limits
	var created []string // members of spec.resources.requests, where that is not there
	for _, r := range [...]podResource{
		{"cpu", func(q *Quantities) jsontext.Value { return q.CPU }, requests.CPU, firstGiven(limits.CPU, requests.CPU)},
		{"memory", func(q *Quantities) jsontext.Value { return q.Memory }, requests.Memory, firstGiven(limits.Memory, requests.Memory)},
	} {
		request := v.givenPodResource("requests", r, given.Requests)
		limit := v.givenPodResource("limits", r, given.Limits)
		if request.original != nil {
			request.raise(request.original, request.original, r.request, to)
		} else if limit.original != nil && !v.containersRequest(r) {
			// Kubernetes takes a limit for the request where no container requests
			// anything, and the sidecar does.
			created = append(created, request.raise(limit.original, null(), r.request, to)...)
		}
		if limit.original != nil {
			limit.raise(limit.original, limit.original, r.limit, to)
		}
	}
	if len(created) > 0 {
		to.add("/spec/resources/requests", jsontext.Value("{"+strings.Join(created, ",")+"}"))
	}
}

// givenResource is a value of spec.resources.
type givenResource struct {
	list, name string
	// current is in the pod now, original is what its owner gave; nil for nothing.
	current, original jsontext.Value
	// siblings says that the list is there.
	siblings bool
}

func (g *givenResource) path() string { return "spec.resources." + g.list + "[" + g.name + "]" }

func (v *view) givenPodResource(list string, r podResource, in *Quantities) *givenResource {
	g := &givenResource{list: list, name: r.name, siblings: in != nil}
	if in != nil {
		g.current = r.of(in)
	}
	g.original = g.current
	if change, ok := v.changed[g.path()]; ok && string(change.To) == string(g.current) {
		if g.original = change.From; string(change.From) == "null" {
			g.original = nil
		}
	}
	return g
}

func (v *view) containersRequest(r podResource) bool {
	for _, c := range v.containers {
		if c.Resources.Requests != nil && r.of(c.Resources.Requests) != nil {
			return true
		}
	}
	return false
}

// raise writes base and more together, if an earlier pass has not. Where the list
// is not there, it returns the member for it.
func (g *givenResource) raise(base, from jsontext.Value, more *resource.Quantity, to *edits) []string {
	sum, err := v1alpha1.ParseQuantity(textOf(base))
	if err != nil {
		return nil // an exponent (see ParseQuantity), or what kube-apiserver is about to refuse
	}
	sum.Add(*more)
	raised := quote(sum.String())
	to.record(g.path(), from, raised)
	if !g.siblings {
		return []string{`"` + g.name + `":` + string(raised)}
	}
	if string(raised) != string(g.current) {
		to.add("/spec/resources/"+g.list+"/"+g.name, raised)
	}
	return nil
}

func firstGiven(first, second *resource.Quantity) *resource.Quantity {
	if first != nil {
		return first
	}
	return second
}

// textOf is a quantity as text, which JSON has as a string or a number.
func textOf(quantity jsontext.Value) string {
	if text, err := jsontext.AppendUnquote(nil, quantity); err == nil {
		return string(text)
	}
	return string(quantity)
}
