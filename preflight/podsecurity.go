package preflight

import (
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	podsecurity "k8s.io/pod-security-admission/api"
	"k8s.io/pod-security-admission/policy"

	"github.com/pillion-mesh/pillion/injector"
)

// podSecurity asks Kubernetes' own policies about the injected pods, and tells what
// they hold against them that they did not hold against the pods before.
func podSecurity(f *Facts, ns *Namespace) []Finding {
	report := report{subject: "namespace " + ns.Object.Name}
	enforced, errs := podsecurity.PolicyToEvaluate(ns.Object.Labels, podsecurity.Policy{
		Enforce: podsecurity.LevelVersion{Level: podsecurity.LevelPrivileged, Version: podsecurity.LatestVersion()},
	})
	if len(errs) > 0 {
		report.notice("its labels for Pod Security cannot be read, so that Kubernetes takes the strictest level: %v", errs.ToAggregate())
	}
	if enforced.Enforce.Level == podsecurity.LevelPrivileged {
		// No label says otherwise, and kube-apiserver's own configuration may.
		if t := ns.Trial; t != nil && t.Err != nil && strings.Contains(t.Err.Error(), "violates PodSecurity") {
			report.problem("kube-apiserver refuses an injected pod by a level that is its default: %v", t.Err)
		}
		return report.findings
	}
	evaluator, err := policy.NewEvaluator(policy.DefaultChecks(), nil)
	if err != nil {
		report.add(Unknown, "Kubernetes' policies could not be prepared: %v", err)
		return report.findings
	}
	// Many workloads are held against for the same thing: one finding for each.
	by := map[string][]string{}
	for _, j := range f.meshed(ns, &report) {
		if j.result.Decision.Verdict == injector.Refuse {
			continue
		}
		refused := func(pod *corev1.Pod) policy.AggregateCheckResult {
			return policy.AggregateCheckResults(evaluator.EvaluatePod(enforced.Enforce, &pod.ObjectMeta, &pod.Spec))
		}
		before, after := refused(j.before), refused(j.after)
		if added := addedViolations(&before, &after); added != "" {
			by[added] = append(by[added], j.String())
		}
	}
	for _, violation := range sortedKeys(by) {
		report.problem("level %s refuses the injected pods of %s: %s", enforced.Enforce.String(), some(by[violation]), violation)
	}
	return report.findings
}

// addedViolations are those of after that are not among before's, as Kubernetes says
// them.
func addedViolations(before, after *policy.AggregateCheckResult) string {
	known := details(before)
	added := slices.DeleteFunc(details(after), func(v string) bool { return slices.Contains(known, v) })
	return strings.Join(added, ", ")
}

func details(result *policy.AggregateCheckResult) []string {
	var all []string
	for n, reason := range result.ForbiddenReasons {
		if detail := result.ForbiddenDetails[n]; detail != "" {
			reason += " (" + detail + ")"
		}
		all = append(all, reason)
	}
	return all
}
