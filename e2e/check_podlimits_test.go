package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
)

// TestCheckPodLimitsAgainstAPIServer: a LimitRange of the type Pod is about all
// containers of a pod together, so the app's own count as well as those that injection
// adds. The app has 100m and 64Mi, limited to 200m and 128Mi; the sidecar has 100m and
// 128Mi, limited to 512Mi.
func TestCheckPodLimitsAgainstAPIServer(t *testing.T) {
	install(t, nil)
	c := apiServer(t)
	of := func(item corev1.LimitRangeItem) corev1.LimitRangeItem {
		item.Type = corev1.LimitTypePod
		return item
	}
	sizedAsAWhole := func(requests, limits corev1.ResourceList) func(*corev1.PodSpec) {
		return func(pod *corev1.PodSpec) {
			pod.Containers[0].Resources = corev1.ResourceRequirements{}
			pod.Resources = &corev1.ResourceRequirements{Requests: requests, Limits: limits}
		}
	}
	migrates := func(pod *corev1.PodSpec) {
		migrate := *pod.Containers[0].DeepCopy()
		migrate.Name, migrate.LivenessProbe, migrate.ReadinessProbe, migrate.StartupProbe, migrate.Lifecycle = "migrate", nil, nil, nil, nil
		migrate.Resources = corev1.ResourceRequirements{Requests: cpuMemory("", "600Mi"), Limits: cpuMemory("", "600Mi")}
		pod.InitContainers = append(pod.InitContainers, migrate)
	}
	const problem = "limit-range"
	for name, test := range map[string]namespaceCase{
		"maximum": {limits: limited(of(corev1.LimitRangeItem{Max: cpuMemory("", "639Mi")})), finds: problem, says: []string{
			"the pod as a whole: its memory limit 640Mi is above the maximum 639Mi of LimitRange limits",
		}},
		"maximum that is just kept":                             {limits: limited(of(corev1.LimitRangeItem{Max: cpuMemory("", "640Mi")}))},
		"maximum of what only the app limits, and both request": {limits: limited(of(corev1.LimitRangeItem{Max: cpuMemory("200m", "")}))},
		"maximum that the requests alone are above": {
			limits: limited(of(corev1.LimitRangeItem{Max: cpuMemory("150m", "")})),
			keeps: func(pod *corev1.PodSpec) {
				pod.Containers[0].Resources = corev1.ResourceRequirements{Requests: cpuMemory("100m", ""), Limits: cpuMemory("150m", "")}
			},
			finds: problem, says: []string{"its cpu request 200m is above the maximum 150m"},
		},
		"minimum that the sidecar does not help over": {limits: limited(of(corev1.LimitRangeItem{Min: cpuMemory("", "193Mi")})), anyway: true, finds: problem, says: []string{
			"the pod as a whole: its memory request 192Mi is below the minimum 193Mi",
		}},
		"minimum that is kept with the sidecar alone": {limits: limited(of(corev1.LimitRangeItem{Min: cpuMemory("", "192Mi")})), anyway: true},
		"minimum that the limits alone are below": {
			limits: limited(of(corev1.LimitRangeItem{Min: cpuMemory("180m", "")})), anyway: true,
			keeps: func(pod *corev1.PodSpec) {
				pod.Containers[0].Resources = corev1.ResourceRequirements{Requests: cpuMemory("100m", ""), Limits: cpuMemory("150m", "")}
			},
			finds: problem, says: []string{"its cpu limit 150m is below the minimum 180m"},
		},
		"ratio": {limits: limited(of(corev1.LimitRangeItem{MaxLimitRequestRatio: cpuMemory("", "3")})), finds: problem, says: []string{
			"the pod as a whole: its memory limit 640Mi is more than 3 times its request 192Mi",
		}},
		"wide ratio": {limits: limited(of(corev1.LimitRangeItem{MaxLimitRequestRatio: cpuMemory("", "3400m")}))},
		"ratio without a limit": {
			limits: limited(of(corev1.LimitRangeItem{MaxLimitRequestRatio: cpuMemory("2", "")})), anyway: true,
			keeps: func(pod *corev1.PodSpec) { delete(pod.Containers[0].Resources.Limits, "cpu") },
			finds: problem, says: []string{"its cpu limit (none) is more than 2 times its request 200m"},
		},
		"a limit is also a request": {limits: limited(of(corev1.LimitRangeItem{MaxLimitRequestRatio: cpuMemory("", "2500m")})), keeps: func(pod *corev1.PodSpec) {
			pod.Containers[0].Resources = corev1.ResourceRequirements{Limits: cpuMemory("", "128Mi")}
		}},
		"an init container beside the sidecar": {limits: limited(of(corev1.LimitRangeItem{Max: cpuMemory("", "1111Mi")})), keeps: migrates, finds: problem, says: []string{
			"the pod as a whole: its memory limit 1112Mi is above the maximum 1111Mi",
		}},
		"room for an init container": {limits: limited(of(corev1.LimitRangeItem{Max: cpuMemory("", "1112Mi")})), keeps: migrates},
		"a pod sized as a whole": {
			limits: limited(of(corev1.LimitRangeItem{Max: cpuMemory("", "1535Mi")})), keeps: sizedAsAWhole(nil, cpuMemory("", "1Gi")),
			finds: problem, says: []string{"its memory limit 1536Mi is above the maximum 1535Mi"},
		},
		"room for a pod sized as a whole": {limits: limited(of(corev1.LimitRangeItem{Max: cpuMemory("", "1536Mi")})), keeps: sizedAsAWhole(nil, cpuMemory("", "1Gi"))},
		"requests of a pod sized as a whole": {
			limits: limited(of(corev1.LimitRangeItem{MaxLimitRequestRatio: cpuMemory("", "3")})), keeps: sizedAsAWhole(cpuMemory("", "256Mi"), cpuMemory("", "768Mi")),
			finds: problem, says: []string{"its memory limit 1280Mi is more than 3 times its request 384Mi"},
		},
	} {
		t.Run(name, func(t *testing.T) { test.run(t, c) })
	}
}
