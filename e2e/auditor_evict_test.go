package e2e

import (
	"context"
	"fmt"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/e2e/release"
	"github.com/pillion-mesh/pillion/injector"
)

// replace does as the controller of a ReplicaSet: it keeps as many pods as there should
// be, and as a node: they run, and are Ready.
func replace(t *testing.T, c client.Client, set *appsv1.ReplicaSet) {
	t.Helper()
	replaceBy(t, c, set, func() { podOf(t, c, set, "ReplicaSet", corev1.RestartPolicyAlways) })
}

// replaceBy is replace, with how a pod is made.
func replaceBy(t *testing.T, c client.Client, set *appsv1.ReplicaSet, another func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	t.Cleanup(func() { cancel(); <-done })
	go func() {
		defer close(done)
		wait.UntilWithContext(ctx, func(ctx context.Context) {
			var pods corev1.PodList
			if err := c.List(ctx, &pods, client.InNamespace(set.Namespace), client.MatchingLabels(set.Spec.Selector.MatchLabels)); err != nil {
				return
			}
			if len(pods.Items) < int(*set.Spec.Replicas) && ctx.Err() == nil {
				another()
			}
		}, 50*time.Millisecond)
	}()
}

// budget makes a PodDisruptionBudget that allows so many evictions now. Nobody counts
// them anew here.
func budget(t *testing.T, c client.Client, set *appsv1.ReplicaSet, allowed int32) *policyv1.PodDisruptionBudget {
	t.Helper()
	b := &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: set.Namespace, Name: set.Name},
		Spec:       policyv1.PodDisruptionBudgetSpec{MaxUnavailable: &intstr.IntOrString{IntVal: 1}, Selector: set.Spec.Selector},
	}
	if err := c.Create(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	allow(t, c, b, allowed)
	return b
}

func allow(t *testing.T, c client.Client, b *policyv1.PodDisruptionBudget, allowed int32) {
	t.Helper()
	eventually(t, "the budget is changed", func() bool {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(b), b); err != nil {
			t.Fatal(err)
		}
		b.Status.ObservedGeneration, b.Status.DisruptionsAllowed = b.Generation, allowed
		b.Status.DisruptedPods = nil
		return c.Status().Update(t.Context(), b) == nil
	})
}

// webhookReady says in an EndpointSlice whether the webhook is ready, as
// kube-controller-manager would.
func (i *installation) webhookReady(t *testing.T, c client.Client, ready bool) {
	t.Helper()
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: ownNamespace, Name: "webhook", Labels: map[string]string{discoveryv1.LabelServiceName: i.release.Object("Service").GetName()}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"10.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
	}
	if err := c.Create(t.Context(), slice); client.IgnoreAlreadyExists(err) != nil {
		t.Fatal(err)
	} else if err != nil {
		if err := c.Update(t.Context(), slice); err != nil {
			t.Fatal(err)
		}
		return
	}
	t.Cleanup(func() {
		if err := c.Delete(context.WithoutCancel(t.Context()), slice); err != nil {
			t.Error(err)
		}
	})
}

func evictions(t *testing.T, c *release.Controller, result string) float64 {
	t.Helper()
	return metricOf(t, c, fmt.Sprintf("pillion_controller_audit_evictions_total{result=%q}", result))
}

// labelLater labels a namespace in which pods are already, and waits until
// kube-apiserver calls the webhook for new ones.
func labelLater(t *testing.T, c client.Client, namespace, revision string) {
	t.Helper()
	labelNamespace(t, c, namespace, map[string]string{optInLabel: "true", v1alpha1.RevisionLabel: revision})
	eventually(t, "new pods of the namespace are injected", func() bool {
		pod := appPod("probe")
		pod.Namespace = namespace
		verdict, _ := outcome(t, c, pod)
		return verdict == injector.Inject
	})
}

// TestAuditorEvicts: pods that were there before their namespace opted in are made anew,
// within a budget and while the webhook is ready; what nothing makes anew stays.
func TestAuditorEvicts(t *testing.T) {
	c := apiServer(t)
	installed := install(t, auditing("evicts", true))
	namespace := newNamespace(t, c, "evicted-", nil)
	web, api := deployment(t, c, namespace, "web", 3), deployment(t, c, namespace, "api", 2)
	for range 3 {
		podOf(t, c, web, "ReplicaSet", corev1.RestartPolicyAlways)
	}
	for range 2 {
		podOf(t, c, api, "ReplicaSet", corev1.RestartPolicyAlways)
	}
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "report"},
		Spec:       batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: appPod("").Spec.Containers}}},
	}
	if err := c.Create(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	bare := appPod("bare")
	bare.Namespace = namespace
	if err := c.Create(t.Context(), bare); err != nil {
		t.Fatal(err)
	}
	stay := []*corev1.Pod{bare, podOf(t, c, job, "Job", corev1.RestartPolicyNever)}
	b := budget(t, c, web, 1)
	labelLater(t, c, namespace, "evicts")
	replace(t, c, web)
	replace(t, c, api)
	installed.webhookReady(t, c, false)

	auditor := installed.startAuditor(t)
	audited(t, auditor, injector.Missed, 7)
	passes(t, auditor, 2)
	if n := evictions(t, auditor, "evicted"); n != 0 {
		t.Errorf("%v pods were evicted while the webhook was not ready", n)
	}
	installed.webhookReady(t, c, true)
	eventually(t, "the budget holds", func() bool { return evictions(t, auditor, "budget") > 0 })
	audited(t, auditor, injector.Injected, 3)
	passes(t, auditor, 2)
	audited(t, auditor, injector.Missed, 4)
	allow(t, c, b, 2)
	audited(t, auditor, injector.Missed, 2)
	audited(t, auditor, injector.Injected, 5)
	if n, alone := evictions(t, auditor, "evicted"), metricOf(t, auditor, "pillion_controller_audit_workloads_left_alone"); n != 5 || alone != 0 {
		t.Errorf("%v pods were evicted and %v workloads are left alone", n, alone)
	}
	for _, pod := range stay {
		uid := pod.UID
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil || pod.UID != uid || pod.DeletionTimestamp != nil {
			t.Errorf("pod %s did not stay: %v", pod.Name, err)
		}
	}
	told(t, c, namespace, "Deployment", "api", "SidecarEviction", "evicted pod api-5d8f-")
}

// TestAuditorEvictsAtARate: however many pods could go, no more do than were asked for.
func TestAuditorEvictsAtARate(t *testing.T) {
	c := apiServer(t)
	installed := install(t, auditing("rate", true))
	namespace := newNamespace(t, c, "evicted-", nil)
	web := deployment(t, c, namespace, "web", 6)
	for range 6 {
		podOf(t, c, web, "ReplicaSet", corev1.RestartPolicyAlways)
	}
	labelLater(t, c, namespace, "rate")
	replace(t, c, web)
	installed.webhookReady(t, c, true)
	started := time.Now()
	auditor := installed.startAuditor(t, "--evictions-per-minute=1")
	eventually(t, "a pod is evicted", func() bool { return evictions(t, auditor, "evicted") > 0 })
	audited(t, auditor, injector.Injected, 1)
	passes(t, auditor, 3)
	most := 1 + time.Since(started).Minutes()
	if n := evictions(t, auditor, "evicted"); n > most {
		t.Errorf("%v pods were evicted in %s, at most %v were to be", n, time.Since(started), most)
	}
}

// TestAuditorEvictsWhatServesAgain: of a workload that nothing protects and whose pods do
// not work behind Envoy, one pod is lost. When it is Ready after all, the others follow.
func TestAuditorEvictsWhatServesAgain(t *testing.T) {
	c := apiServer(t)
	installed := install(t, auditing("serves", true))
	namespace := newNamespace(t, c, "evicted-", nil)
	web := deployment(t, c, namespace, "web", 3)
	for range 3 {
		podOf(t, c, web, "ReplicaSet", corev1.RestartPolicyAlways)
	}
	labelLater(t, c, namespace, "serves")
	came := make(chan *corev1.Pod, 3)
	replaceBy(t, c, web, func() {
		came <- podWhich(t, c, web, "ReplicaSet", corev1.RestartPolicyAlways, corev1.ConditionFalse)
	})
	installed.webhookReady(t, c, true)
	auditor := installed.startAuditor(t)
	for n := range 3 {
		pod := <-came
		passes(t, auditor, 3)
		if got := evictions(t, auditor, "evicted"); got != float64(n+1) {
			t.Errorf("%v pods are evicted, and of %d that came the last one is not Ready", got, n+1)
		}
		pod.Status.Conditions[0].Status = corev1.ConditionTrue
		if err := c.Status().Update(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	audited(t, auditor, injector.Injected, 3)
	audited(t, auditor, injector.Missed, 0)
}

// TestAuditorEvictsPastAFailure: pods that kube-apiserver cannot evict, since two budgets
// cover them, are counted, and keep none of the others.
func TestAuditorEvictsPastAFailure(t *testing.T) {
	c := apiServer(t)
	installed := install(t, auditing("past", true))
	namespace := newNamespace(t, c, "evicted-", nil)
	api, web := deployment(t, c, namespace, "api", 1), deployment(t, c, namespace, "web", 1)
	podOf(t, c, api, "ReplicaSet", corev1.RestartPolicyAlways)
	podOf(t, c, web, "ReplicaSet", corev1.RestartPolicyAlways)
	b := budget(t, c, api, 1)
	second := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "second"}, Spec: b.Spec}
	if err := c.Create(t.Context(), second); err != nil {
		t.Fatal(err)
	}
	labelLater(t, c, namespace, "past")
	replace(t, c, web)
	installed.webhookReady(t, c, true)
	auditor := installed.startAuditor(t)
	audited(t, auditor, injector.Injected, 1)
	audited(t, auditor, injector.Missed, 1)
	if failed := evictions(t, auditor, "failed"); failed == 0 {
		t.Error("no eviction has failed")
	}
}

// stripPatch takes from the sidecar what makes it a native one, as a webhook does that
// was built for an older Kubernetes, and what kube-apiserver refuses without it.
const stripPatch = `[
	{"op":"remove","path":"/spec/initContainers/1/restartPolicy"},
	{"op":"remove","path":"/spec/initContainers/1/startupProbe"},
	{"op":"remove","path":"/spec/initContainers/1/readinessProbe"},
	{"op":"remove","path":"/spec/initContainers/1/lifecycle"},
	{"op":"add","path":"/metadata/annotations/other.example.com~1done","value":"yes"}]`

// TestAuditorLeavesAlone: another webhook strips the sidecar of every pod. That is found,
// told and warned of; one pod is evicted, and when the next is damaged as well, no other.
func TestAuditorLeavesAlone(t *testing.T) {
	c := apiServer(t)
	installed := install(t, auditing("alone", true))
	installOther(t, "stripper", stripPatch)
	namespace := newNamespace(t, c, "stripped-", map[string]string{optInLabel: "true", v1alpha1.RevisionLabel: "alone", "other": "stripper"})
	eventually(t, "pods are damaged", func() bool {
		pod := appPod("probe")
		pod.Namespace = namespace
		said, _ := guardSays(t, pod)
		return said != ""
	})
	web := deployment(t, c, namespace, "web", 3)
	for range 3 {
		podOf(t, c, web, "ReplicaSet", corev1.RestartPolicyAlways)
	}
	replace(t, c, web)
	installed.webhookReady(t, c, true)
	auditor := installed.startAuditor(t)
	eventually(t, "the workload is left alone", func() bool {
		return metricOf(t, auditor, "pillion_controller_audit_workloads_left_alone") == 1
	})
	audited(t, auditor, injector.Damaged, 3)
	told(t, c, namespace, "Deployment", "web", "SidecarDamaged", "restartPolicy", "another webhook changed the pod", "rollout restart deployment/web")
	told(t, c, namespace, "Deployment", "web", "SidecarEvictionStopped", "has no sidecar that works either")
	passes(t, auditor, 3)
	if n := evictions(t, auditor, "evicted"); n != 1 {
		t.Errorf("%v pods were evicted", n)
	}
}
