package e2e

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/injector"
)

// TestWorkloads: "Job/CronJob/bare pod/StatefulSet/DaemonSet/Argo Rollout owners: Job
// completes (native sidecar); no stuck". The pods are as their controllers make them.
func TestWorkloads(t *testing.T) {
	install(t, nil)
	w := newTwins(t, nil)
	for name, c := range map[string]struct {
		pod     func(pod *corev1.Pod)
		service string
		ends    bool
	}{
		"bare pod": {func(pod *corev1.Pod) { pod.Name = "bare" }, "bare", false},
		"Deployment": {func(pod *corev1.Pod) {
			owned(pod, "apps/v1", "ReplicaSet", "checkout-6d5f8c7b9d")
			pod.Labels["pod-template-hash"] = "6d5f8c7b9d"
		}, "checkout", false},
		"Argo Rollout": {func(pod *corev1.Pod) {
			owned(pod, "apps/v1", "ReplicaSet", "pay-7c9")
			pod.Labels["rollouts-pod-template-hash"] = "7c9"
		}, "pay", false},
		"StatefulSet": {func(pod *corev1.Pod) {
			owned(pod, "apps/v1", "StatefulSet", "db")
			pod.Name, pod.GenerateName, pod.Spec.Hostname, pod.Spec.Subdomain = "db-0", "", "db-0", "db"
			pod.Labels["statefulset.kubernetes.io/pod-name"], pod.Labels["apps.kubernetes.io/pod-index"] = "db-0", "0"
		}, "db", false},
		"DaemonSet": {func(pod *corev1.Pod) {
			owned(pod, "apps/v1", "DaemonSet", "agent")
			pod.Labels["pod-template-generation"] = "1"
			pod.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
			pod.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: &corev1.NodeSelector{
				NodeSelectorTerms: []corev1.NodeSelectorTerm{{MatchFields: []corev1.NodeSelectorRequirement{{Key: "metadata.name", Operator: corev1.NodeSelectorOpIn, Values: []string{"node"}}}}},
			}}}
		}, "agent", false},
		"Job": {func(pod *corev1.Pod) {
			owned(pod, "batch/v1", "Job", "migrate")
			pod.Labels["batch.kubernetes.io/job-name"] = "migrate"
			pod.Finalizers = []string{"batch.kubernetes.io/job-tracking"}
			pod.Spec.RestartPolicy = corev1.RestartPolicyNever
		}, "migrate", true},
		"CronJob": {func(pod *corev1.Pod) {
			owned(pod, "batch/v1", "Job", "nightly-29384756")
			pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
		}, "nightly", true},
	} {
		t.Run(name, func(t *testing.T) {
			pod := appPod("")
			delete(pod.Labels, "app")
			c.pod(pod)
			meshed, status := w.create(t, pod)
			if status.Service != c.service {
				t.Errorf("the service is %s, want %s", status.Service, c.service)
			}
			checkEnd(t, meshed, c.ends)
		})
	}
}

// owned makes a pod that a controller made.
func owned(pod *corev1.Pod, apiVersion, kind, name string) {
	pod.GenerateName = name + "-"
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion, Kind: kind, Name: name, UID: "u", Controller: new(true), BlockOwnerDeletion: new(true)}}
}

// checkEnd holds that a pod that is meant to end does, without waiting for clients:
// kubelet ends a native sidecar when the app has ended, and there is nothing to
// linger for. Other pods outlast their clients.
func checkEnd(t *testing.T, pod *corev1.Pod, ends bool) {
	t.Helper()
	envoy := container(t, pod, "envoy")
	if envoy.RestartPolicy == nil || *envoy.RestartPolicy != corev1.ContainerRestartPolicyAlways {
		t.Error("the sidecar is not a native one")
	}
	drain := envoy.Lifecycle.PreStop.Exec.Command
	if immediate := slices.Contains(drain, "--pre-drain-delay=0s"); immediate != ends {
		t.Errorf("the sidecar drains with %q", drain)
	}
	lifecycle := container(t, pod, "app").Lifecycle
	if sleeps := lifecycle != nil && lifecycle.PreStop != nil; sleeps == ends {
		t.Errorf("the app's hooks are %+v", lifecycle)
	}
}

// TestJobInClassicMode: "no stuck". Classic mode cannot end by itself, and says so.
func TestJobInClassicMode(t *testing.T) {
	install(t, nil)
	w := newTwins(t, nil)
	pod := podWith("pillion.dev/mode", "classic")
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	w.create(t, pod)
	if !w.warned.about(injector.ReasonClassicJob) {
		t.Errorf("nobody said that the Job does not end: %q", w.warned.texts)
	}
}
