package injector

import (
	"github.com/go-json-experiment/json/jsontext"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// raisePodResources adds the sidecar's resources to those that the pod gives for
// itself as a whole. Its owner sized them for the app: without this, kube-apiserver
// refuses a pod whose containers now request more than it does, or the app has
// less than it was given. A resource that the pod does not name stays unnamed.
func (v *view) raisePodResources(s *Sidecar, to *edits) {
	if s.PodResources == v1alpha1.PodResourcesKeep {
		return
	}
	requests, limits := s.Resources.Requests, s.Resources.Limits
	for _, r := range [...]struct {
		list, name string
		values     map[string]jsontext.Value
		add        *resource.Quantity
	}{
		{"requests", "cpu", v.pod.Spec.Resources.Requests, requests.CPU},
		{"requests", "memory", v.pod.Spec.Resources.Requests, requests.Memory},
		{"limits", "cpu", v.pod.Spec.Resources.Limits, firstGiven(limits.CPU, requests.CPU)},
		{"limits", "memory", v.pod.Spec.Resources.Limits, firstGiven(limits.Memory, requests.Memory)},
	} {
		current, ok := r.values[r.name]
		if !ok {
			continue
		}
		path := "spec.resources." + r.list + "[" + r.name + "]"
		original := current
		if change, changed := v.changed[path]; changed && string(change.To) == string(current) {
			original = change.From
		}
		sum, err := v1alpha1.ParseQuantity(textOf(original))
		if err != nil {
			// An exponent (see ParseQuantity), or what kube-apiserver is about to refuse.
			continue
		}
		sum.Add(*r.add)
		raised := quote(sum.String())
		to.record(path, original, raised)
		if string(raised) != string(current) {
			to.replace("/spec/resources/"+r.list+"/"+r.name, raised)
		}
	}
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
