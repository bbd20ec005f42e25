package preflight

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// Sidecar is one that runs.
type Sidecar struct {
	Pod, Service string
	// Mounts says whether the pod has a volume that the service's MeshService comes by.
	Mounts bool
}

// meshServicesDefined says whether owners can write MeshServices where a release brings
// them to pods.
func meshServicesDefined(f *Facts, r *Installed) []Finding {
	report := report{subject: r.String()}
	switch defined := f.MeshServicesDefined; {
	case defined.Err != nil:
		report.unseen("the definition of MeshService", defined.Err)
	case !defined.Value:
		report.notice("kube-apiserver knows no %s of %s", v1alpha1.KindMeshService, v1alpha1.GroupVersion())
	}
	return report.findings
}

// seesMeshServices says whether there are any to look at.
func (r *report) seesMeshServices(ns *Namespace) bool {
	if ns.MeshServices.Err != nil {
		r.unseen("the MeshServices", ns.MeshServices.Err)
	}
	return ns.MeshServices.Err == nil && len(ns.MeshServices.Value) > 0
}

// latest a MeshService, if it is about what its owner wrote last; else nil.
func latest(m *v1alpha1.MeshService, kind string) *metav1.Condition {
	c := meta.FindStatusCondition(m.Status.Conditions, kind)
	if c == nil || c.ObservedGeneration < m.Generation {
		return nil
	}
	return c
}

// meshServicesRendered finds those that nothing was made of.
func meshServicesRendered(_ *Facts, ns *Namespace) []Finding {
	report := report{subject: "namespace " + ns.Object.Name}
	if !report.seesMeshServices(ns) {
		return report.findings
	}
	for n := range ns.MeshServices.Value {
		m := &ns.MeshServices.Value[n]
		accepted, rendered := latest(m, v1alpha1.ConditionAccepted), latest(m, v1alpha1.ConditionRendered)
		switch {
		case accepted == nil || rendered == nil:
			report.notice("MeshService %s was not looked at by the controller since it was changed last", m.Name)
			report.hint("a moment after a change this is nothing; else look at controller.meshServices.enabled, and at the controller's log")
		case accepted.Status == metav1.ConditionFalse:
			report.problem("MeshService %s is not accepted: %s", m.Name, accepted.Message)
		case rendered.Status != metav1.ConditionTrue:
			report.problem("MeshService %s is not rendered (%s): %s", m.Name, rendered.Reason, rendered.Message)
		}
	}
	return report.findings
}

// meshServicesApplied finds those that pods rejected, or say nothing about.
func meshServicesApplied(_ *Facts, ns *Namespace) []Finding {
	report := report{subject: "namespace " + ns.Object.Name}
	if !report.seesMeshServices(ns) {
		return report.findings
	}
	for n := range ns.MeshServices.Value {
		m := &ns.MeshServices.Value[n]
		rendered, applied, pods := latest(m, v1alpha1.ConditionRendered), latest(m, v1alpha1.ConditionApplied), m.Status.Pods
		switch {
		case applied == nil: // as well as the conditions before it
		case pods.Rejected > 0:
			report.problem("MeshService %s is rejected by %d of %d pods: %s", m.Name, pods.Rejected, pods.Total, applied.Message)
		case rendered != nil && rendered.Status == metav1.ConditionFalse: // said of that already
		case applied.Status != metav1.ConditionTrue && pods.Total > 0:
			report.notice("MeshService %s is run by %d of %d pods: %s", m.Name, pods.Current, pods.Total, applied.Message)
		}
	}
	return report.findings
}

// meshServicesMatch finds those that no pods are of: a name that was mistyped shows
// nowhere else.
func meshServicesMatch(f *Facts, ns *Namespace) []Finding {
	report := report{subject: "namespace " + ns.Object.Name}
	if !report.seesMeshServices(ns) {
		return report.findings
	}
	services, complete := f.services(ns, &report)
	for n := range ns.MeshServices.Value {
		name := ns.MeshServices.Value[n].Name
		if slices.Contains(services, name) || !complete {
			continue
		}
		here := strings.Join(services, ", ")
		if here == "" {
			here = "none"
		}
		report.notice("MeshService %s is for a service that no pods are of; the services of this namespace: %s", name, here)
	}
	return report.findings
}

// services are the identities of the workloads' pods and of sidecars that run, and
// whether they are all known.
func (f *Facts) services(ns *Namespace, report *report) (names []string, complete bool) {
	found := map[string]bool{}
	for _, j := range f.meshed(ns, report) {
		if j.result.Status == nil {
			report.add(Unknown, "which service %s is of is not known while its pods are refused", &j)
			continue
		}
		found[j.result.Status.Service] = true
	}
	if ns.Sidecars.Err != nil {
		report.unseen("the pods", ns.Sidecars.Err)
	}
	for _, s := range ns.Sidecars.Value {
		found[s.Service] = true
	}
	return sortedKeys(found), len(report.findings) == 0
}

// meshServicesMounted finds pods that a MeshService cannot come to.
func meshServicesMounted(f *Facts, ns *Namespace) []Finding {
	report := report{subject: "namespace " + ns.Object.Name}
	if !report.seesMeshServices(ns) {
		return report.findings
	}
	if ns.Sidecars.Err != nil {
		report.unseen("the pods", ns.Sidecars.Err)
		return report.findings
	}
	off := map[string][]string{}
	for _, j := range f.meshed(ns, &report) {
		if j.result.Status != nil && j.result.Sidecar.MeshConfigMap == "" {
			off[j.result.Status.Service] = append(off[j.result.Status.Service], j.String())
		}
	}
	for n := range ns.MeshServices.Value {
		service := ns.MeshServices.Value[n].Name
		if workloads := off[service]; len(workloads) > 0 {
			report.notice("MeshService %s does not come to the pods of %s, whose configuration has meshService: Off", service, some(workloads))
			report.hint("set meshService: ConfigMap in the configuration, for the namespace or for all, and restart the workload")
			continue
		}
		var without []string
		for _, s := range ns.Sidecars.Value {
			if s.Service == service && !s.Mounts {
				without = append(without, s.Pod)
			}
		}
		if len(without) > 0 {
			report.problem("MeshService %s does not come to %s, which have no volume for it", service, some(without))
		}
	}
	return report.findings
}
