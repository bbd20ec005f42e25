package preflight

import (
	autoscalingv2 "k8s.io/api/autoscaling/v2"

	"github.com/pillion-mesh/pillion/injector"
)

// refusals are workloads whose pods the webhook refuses.
func refusals(f *Facts, ns *Namespace) []Finding {
	report := report{subject: "namespace " + ns.Object.Name}
	for _, j := range f.meshed(ns, &report) {
		if j.result.Decision.Verdict == injector.Refuse {
			report.problem("the pods of %s are refused (%s): %s", &j, j.result.Decision.Reason, j.result.Message)
			report.hint("%s", j.result.Decision.Reason.Remedy)
		}
	}
	return report.findings
}

// autoscalers that take an average over all containers of a meshed pod.
func autoscalers(f *Facts, ns *Namespace) []Finding {
	report := report{subject: "namespace " + ns.Object.Name}
	if ns.Autoscalers.Err != nil {
		report.unseen("the HorizontalPodAutoscalers", ns.Autoscalers.Err)
		return report.findings
	}
	if len(ns.Autoscalers.Value) == 0 {
		return nil
	}
	workloads := f.meshed(ns, &report)
	for n := range ns.Autoscalers.Value {
		hpa := &ns.Autoscalers.Value[n]
		for m := range workloads {
			j := &workloads[m]
			if hpa.Spec.ScaleTargetRef.Kind != j.Kind || hpa.Spec.ScaleTargetRef.Name != j.Name {
				continue
			}
			for _, metric := range hpa.Spec.Metrics {
				if metric.Type == autoscalingv2.ResourceMetricSourceType && metric.Resource != nil {
					report.problem("HorizontalPodAutoscaler %s scales %s by the %s of whole pods, and the sidecar is part of them", hpa.Name, j, metric.Resource.Name)
					report.hint("in its metrics, take type ContainerResource with container: %s", j.before.Spec.Containers[0].Name)
				}
			}
		}
	}
	return report.findings
}

// budgets that let no pod be evicted: a pod that was missed, or whose sidecar is
// outdated, is then replaced by a rolling update alone.
func budgets(_ *Facts, ns *Namespace) []Finding {
	report := report{subject: "namespace " + ns.Object.Name}
	if ns.Budgets.Err != nil {
		report.unseen("the PodDisruptionBudgets", ns.Budgets.Err)
		return report.findings
	}
	for n := range ns.Budgets.Value {
		b := &ns.Budgets.Value[n]
		if b.Status.ExpectedPods > 0 && b.Status.DisruptionsAllowed == 0 {
			report.notice("PodDisruptionBudget %s lets none of %d pods be evicted (%d of %d that it asks for are healthy)", b.Name, b.Status.ExpectedPods, b.Status.CurrentHealthy, b.Status.DesiredHealthy)
		}
	}
	return report.findings
}
