package preflight

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"

	"github.com/pillion-mesh/pillion/injector"
)

// limitRange holds injected pods against the namespace's LimitRanges, as LimitRanger
// does after the webhooks: what a container does not say it is given, and then each
// container is looked at, and the pod as a whole.
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
		for _, what := range j.outside(ns.LimitRanges.Value) {
			by[what] = append(by[what], j.String())
		}
	}
	for _, what := range sortedKeys(by) {
		report.problem("the injected pods of %s are refused: %s", some(by[what]), what)
	}
	return report.findings
}

// outside is what these LimitRanges hold against the containers that injection adds,
// and against the pod that they are in.
func (j *judged) outside(ranges []corev1.LimitRange) []string {
	var found []string
	hold := func(what string, r *corev1.ResourceRequirements, kind corev1.LimitType) {
		for n := range ranges {
			for _, violation := range violations(r, &ranges[n], kind) {
				found = append(found, what+": "+violation)
			}
		}
	}
	for _, c := range j.ours() {
		requirements := defaulted(c.Resources, ranges)
		if violation := contradiction(&requirements); violation != "" {
			found = append(found, "container "+c.Name+": "+violation)
		}
		hold("container "+c.Name, &requirements, corev1.LimitTypeContainer)
	}
	whole := wholePod(j.after, ranges)
	hold("the pod as a whole", &whole, corev1.LimitTypePod)
	return found
}

// wholePod is what all containers of a pod ask for together at one time, or what
// spec.resources says of them.
func wholePod(pod *corev1.Pod, ranges []corev1.LimitRange) corev1.ResourceRequirements {
	pod = pod.DeepCopy()
	for _, containers := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for n := range containers {
			containers[n].Resources = defaulted(containers[n].Resources, ranges)
		}
	}
	// LimitRanger leaves out what a RuntimeClass adds.
	options := resourcehelper.PodResourcesOptions{ExcludeOverhead: true}
	whole := corev1.ResourceRequirements{Requests: resourcehelper.PodRequests(pod, options), Limits: resourcehelper.PodLimits(pod, options)}
	if pod.Spec.Resources != nil {
		// A limit of the pod is also its request, where no container has one.
		setMissing(whole.Requests, pod.Spec.Resources.Limits)
	}
	return whole
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

// contradiction is what the API itself holds against a container once it has the
// defaults of LimitRanges; empty where there is none.
func contradiction(r *corev1.ResourceRequirements) string {
	for _, name := range sortedKeys(r.Limits) {
		limit := r.Limits[name]
		if request, ok := r.Requests[name]; ok && request.Cmp(limit) > 0 {
			return fmt.Sprintf("its %s request %s is above the limit %s that a LimitRange gives it", name, request.String(), limit.String())
		}
	}
	return ""
}

// violations are what one LimitRange holds against a container, or against a pod.
func violations(r *corev1.ResourceRequirements, limits *corev1.LimitRange, kind corev1.LimitType) []string {
	var found []string
	add := func(format string, args ...any) { found = append(found, fmt.Sprintf(format, args...)) }
	for _, item := range limits.Spec.Limits {
		if item.Type != kind {
			continue
		}
		for _, name := range sortedKeys(item.Min) {
			least := item.Min[name]
			if request, ok := r.Requests[name]; !ok || request.Cmp(least) < 0 {
				add("its %s request %s is below the minimum %s of LimitRange %s", name, textOf(r.Requests, name), least.String(), limits.Name)
			} else if limit, limited := r.Limits[name]; limited && limit.Cmp(least) < 0 {
				add("its %s limit %s is below the minimum %s of LimitRange %s", name, limit.String(), least.String(), limits.Name)
			}
		}
		for _, name := range sortedKeys(item.Max) {
			most := item.Max[name]
			if limit, ok := r.Limits[name]; !ok || limit.Cmp(most) > 0 {
				add("its %s limit %s is above the maximum %s of LimitRange %s", name, textOf(r.Limits, name), most.String(), limits.Name)
			} else if request, requested := r.Requests[name]; requested && request.Cmp(most) > 0 {
				add("its %s request %s is above the maximum %s of LimitRange %s", name, request.String(), most.String(), limits.Name)
			}
		}
		for _, name := range sortedKeys(item.MaxLimitRequestRatio) {
			ratio := item.MaxLimitRequestRatio[name]
			limit, request := r.Limits[name], r.Requests[name]
			if limit.IsZero() || request.IsZero() || limit.AsApproximateFloat64() > ratio.AsApproximateFloat64()*request.AsApproximateFloat64() {
				add("its %s limit %s is more than %s times its request %s, which LimitRange %s allows", name, textOf(r.Limits, name), ratio.String(), textOf(r.Requests, name), limits.Name)
			}
		}
	}
	return found
}

func textOf(list corev1.ResourceList, name corev1.ResourceName) string {
	quantity, given := list[name]
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
