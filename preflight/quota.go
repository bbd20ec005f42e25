package preflight

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/pillion-mesh/pillion/injector"
)

// resourceQuota says whether the next rolling update of every meshed workload fits, and
// whether the quota has the sidecar say more than it says.
func resourceQuota(f *Facts, ns *Namespace) []Finding {
	report := report{subject: "namespace " + ns.Object.Name}
	if ns.Quotas.Err != nil {
		report.unseen("the ResourceQuotas", ns.Quotas.Err)
		return report.findings
	}
	if len(ns.Quotas.Value) == 0 {
		return nil
	}
	workloads := f.meshed(ns, &report)
	for n := range ns.Quotas.Value {
		quota := &ns.Quotas.Value[n]
		if len(quota.Spec.Scopes) > 0 || quota.Spec.ScopeSelector != nil {
			report.add(Unknown, "ResourceQuota %s has scopes, which are not evaluated here", quota.Name)
			continue
		}
		for _, name := range sortedKeys(quota.Spec.Hard) {
			report.quota(quota, name, workloads, ns.LimitRanges.Value)
		}
	}
	return report.findings
}

func (r *report) quota(quota *corev1.ResourceQuota, name corev1.ResourceName, workloads []judged, ranges []corev1.LimitRange) {
	limits, resourceName, counted := ofContainers(name)
	if !counted {
		return
	}
	var silent []string
	var needed resource.Quantity
	for n := range workloads {
		j := &workloads[n]
		if j.result.Decision.Verdict == injector.Refuse {
			continue
		}
		sidecar, given := j.sidecarNeeds(limits, resourceName, ranges)
		if !given {
			silent = append(silent, j.String())
			continue
		}
		// Each pod without a sidecar is replaced by one that has it, and a few stand
		// beside them for a while: those take a whole pod's share.
		needed.Add(times(sidecar, max(0, j.Replicas-j.Meshed)+j.Surge))
		needed.Add(times(j.appNeeds(limits, resourceName, ranges), j.Surge))
	}
	if len(silent) > 0 {
		r.problem("ResourceQuota %s counts %s, so each container has to give it, and the sidecar of %s gives none", quota.Name, name, some(silent))
		r.hint("give a LimitRange with a default for %s, or set sidecar.resources for the namespace", name)
	}
	hard, used := quota.Spec.Hard[name], quota.Status.Used[name]
	total := used.DeepCopy()
	total.Add(needed)
	if !needed.IsZero() && total.Cmp(hard) > 0 {
		r.problem("ResourceQuota %s allows %s of %s and %s are in use; a rolling update with sidecars needs up to %s more", quota.Name, hard.String(), name, used.String(), needed.String())
	}
}

// ofContainers splits a quota's name for what containers ask for.
func ofContainers(name corev1.ResourceName) (limits bool, resourceName corev1.ResourceName, counted bool) {
	rest, limits := strings.CutPrefix(string(name), "limits.")
	if !limits {
		rest = strings.TrimPrefix(rest, "requests.")
	}
	resourceName = corev1.ResourceName(rest)
	return limits, resourceName, resourceName == corev1.ResourceCPU || resourceName == corev1.ResourceMemory
}

func ask(c *corev1.Container, limits bool, name corev1.ResourceName, ranges []corev1.LimitRange) (resource.Quantity, bool) {
	requirements := defaulted(c.Resources, ranges)
	list := requirements.Requests
	if limits {
		list = requirements.Limits
	}
	quantity, given := list[name]
	return quantity, given
}

// sidecarNeeds is what Envoy's container asks for. pillion-init has ended by then and
// asks for as much.
func (j *judged) sidecarNeeds(limits bool, name corev1.ResourceName, ranges []corev1.LimitRange) (resource.Quantity, bool) {
	added := j.ours()
	for n := range added {
		if added[n].Name == injector.SidecarName {
			return ask(&added[n], limits, name, ranges)
		}
	}
	return resource.Quantity{}, false
}

func (j *judged) appNeeds(limits bool, name corev1.ResourceName, ranges []corev1.LimitRange) (sum resource.Quantity) {
	for n := range j.before.Spec.Containers {
		quantity, _ := ask(&j.before.Spec.Containers[n], limits, name, ranges)
		sum.Add(quantity)
	}
	return sum
}

func times(quantity resource.Quantity, n int64) resource.Quantity {
	product := quantity.DeepCopy()
	product.Mul(n)
	return product
}
