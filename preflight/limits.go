package preflight

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/pillion-mesh/pillion/injector"
)

// limitRange holds the injected containers against the namespace's LimitRanges, as
// LimitRanger does after the webhooks: what a container does not say it is given, and
// then it is looked at.
func limitRange(f *Facts, ns *Namespace) []Finding {
	report := report{subject: "namespace " + ns.Object.Name}
	if ns.LimitRanges.Err != nil {
		report.unseen("the LimitRanges", ns.LimitRanges.Err)
		return report.findings
	}
	if len(ns.LimitRanges.Value) == 0 {
		return nil
	}
	by := map[string][]string{}
	for _, j := range f.meshed(ns, &report) {
		if j.result.Decision.Verdict == injector.Refuse {
			continue
		}
		for _, c := range j.ours() {
			requirements := defaulted(c.Resources, ns.LimitRanges.Value)
			for n := range ns.LimitRanges.Value {
				for _, violation := range violations(&requirements, &ns.LimitRanges.Value[n]) {
					what := fmt.Sprintf("container %s: %s", c.Name, violation)
					by[what] = append(by[what], j.String())
				}
			}
		}
	}
	for _, what := range sortedKeys(by) {
		report.problem("the injected pods of %s are refused: %s", some(by[what]), what)
	}
	return report.findings
}

// defaulted is what a container's resources become: of each LimitRange, the default
// limits and requests; and a request that is not given is the limit that is.
func defaulted(given corev1.ResourceRequirements, ranges []corev1.LimitRange) corev1.ResourceRequirements {
	requirements := *given.DeepCopy()
	if requirements.Requests == nil {
		requirements.Requests = corev1.ResourceList{}
	}
	if requirements.Limits == nil {
		requirements.Limits = corev1.ResourceList{}
	}
	// API defaults come before admission: a limit is also a request.
	setMissing(requirements.Requests, requirements.Limits)
	for n := range ranges {
		for _, item := range ranges[n].Spec.Limits {
			if item.Type == corev1.LimitTypeContainer {
				setMissing(requirements.Limits, item.Default)
				setMissing(requirements.Requests, item.DefaultRequest)
			}
		}
	}
	return requirements
}

func setMissing(list, defaults corev1.ResourceList) {
	for name, quantity := range defaults {
		if _, given := list[name]; !given {
			list[name] = quantity
		}
	}
}

// violations are what one LimitRange, and the API itself, hold against a container.
func violations(r *corev1.ResourceRequirements, limits *corev1.LimitRange) []string {
	var found []string
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	for _, name := range sortedKeys(r.Limits) {
		limit := r.Limits[name]
		if request, ok := r.Requests[name]; ok && request.Cmp(limit) > 0 {
			add("its %s request %s is above the limit %s that LimitRange %s gives it", name, request.String(), limit.String(), limits.Name)
		}
	}
	for _, item := range limits.Spec.Limits {
		if item.Type != corev1.LimitTypeContainer {
			continue
		}
		for _, name := range sortedKeys(item.Min) {
			least := item.Min[name]
			if request, ok := r.Requests[name]; !ok || request.Cmp(least) < 0 {
				add("its %s request %s is below the minimum %s of LimitRange %s", name, textOf(request, ok), least.String(), limits.Name)
			}
		}
		for _, name := range sortedKeys(item.Max) {
			most := item.Max[name]
			if limit, ok := r.Limits[name]; !ok || limit.Cmp(most) > 0 {
				add("its %s limit %s is above the maximum %s of LimitRange %s", name, textOf(limit, ok), most.String(), limits.Name)
			}
		}
		for _, name := range sortedKeys(item.MaxLimitRequestRatio) {
			ratio := item.MaxLimitRequestRatio[name]
			limit, limited := r.Limits[name]
			request, requested := r.Requests[name]
			if !limited || !requested || request.IsZero() || limit.AsApproximateFloat64() > ratio.AsApproximateFloat64()*request.AsApproximateFloat64() {
				add("its %s limit %s is more than %s times its request %s, which LimitRange %s allows", name, textOf(limit, limited), ratio.String(), textOf(request, requested), limits.Name)
			}
		}
	}
	return found
}

func textOf(quantity resource.Quantity, given bool) string {
	if !given {
		return "(none)"
	}
	return quantity.String()
}

// sortedKeys has what comes out of a map come in the same order each time.
func sortedKeys[K ~string, V any](m map[K]V) []K { return slices.Sorted(maps.Keys(m)) }

// some names the first of many.
func some(names []string) string {
	const enough = 3
	if len(names) <= enough {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:enough], ", "), len(names)-enough)
}
