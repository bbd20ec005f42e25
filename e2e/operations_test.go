package e2e

import (
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/e2e/release"
)

// metrics is what Prometheus would read.
func (i *installation) metrics(t *testing.T) string {
	t.Helper()
	return metricsOf(t, i.webhook.StatusURL)
}

func metricsOf(t *testing.T, statusURL string) string {
	t.Helper()
	text, err := release.Get(t.Context(), statusURL+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// counters are the values of the webhook's counters that are above 0, by series.
func (i *installation) counters(t *testing.T) map[string]float64 {
	t.Helper()
	found := map[string]float64{}
	for line := range strings.Lines(i.metrics(t)) {
		series, text, _ := strings.Cut(strings.TrimSpace(line), "} ")
		name, ours := strings.CutPrefix(series, "pillion_webhook_")
		if value, err := strconv.ParseFloat(text, 64); ours && strings.Contains(name, "_total{") && err == nil && value > 0 {
			found[name] = value
		}
	}
	return found
}

// asked is what has been counted since before.
func (i *installation) asked(t *testing.T, before map[string]float64) map[string]float64 {
	t.Helper()
	more := map[string]float64{}
	for series, value := range i.counters(t) {
		if value > before[series] {
			more[series] = value - before[series]
		}
	}
	return more
}

// TestOtherOperations: "UPDATE, ephemeralcontainers, pods/eviction, DELETE: not
// matched or no-op". After a pod's creation the webhook is never asked about it.
func TestOtherOperations(t *testing.T) {
	installed := install(t, nil)
	w := newTwins(t, map[string]string{strictLabel: "true"})
	pods := []*corev1.Pod{appPod("evicted"), appPod("deleted")}
	for _, pod := range pods {
		pod.Namespace = w.meshed
		if err := w.client.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	before := installed.counters(t)
	for _, pod := range pods {
		created := pod.DeepCopy()
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, "pillion.dev/log-level", "no such level")
		pod.Labels["more"] = "yes"
		pod.Spec.Containers[0].Image = "app:2"
		if err := w.client.Update(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		pod.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "debug"}}}
		if err := w.client.SubResource("ephemeralcontainers").Update(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		pod.Status.Phase = corev1.PodRunning
		if err := w.client.Status().Update(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(created.Spec.InitContainers, pod.Spec.InitContainers); diff != "" {
			t.Errorf("the sidecar changed (-created +updated):\n%s", diff)
		}
	}
	if err := w.client.SubResource("eviction").Create(t.Context(), pods[0], &policyv1.Eviction{}); err != nil {
		t.Error(err)
	}
	if err := w.client.Delete(t.Context(), pods[1], client.GracePeriodSeconds(0)); err != nil {
		t.Error(err)
	}
	if more := installed.asked(t, before); len(more) > 0 {
		t.Errorf("the webhook was asked: %v", more)
	}
}

// TestDryRun: "dryRun=All; kubectl diff; server-side apply: same patch, no side effects
// (no events, counters tagged)". A dry run shows what a creation then stores.
func TestDryRun(t *testing.T) {
	installed := install(t, nil)
	w := newTwins(t, nil)
	before := installed.counters(t)
	dry, err := w.createIn(t, w.meshed, appPod("same"))
	if err != nil {
		t.Fatal(err)
	}
	applied := applyPod(t, w, appPod("same"), client.DryRunAll)
	const dryRuns = `admissions_total{dry_run="true",reason="Injected",verdict="inject"`
	if more := installed.asked(t, before); more[dryRuns] != 2 || len(more) != 2 { // the second is a warning's
		t.Errorf("after two dry runs the webhook counts %v", more)
	}
	pod := appPod("same")
	pod.Namespace = w.meshed
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); client.IgnoreNotFound(err) != nil || err == nil {
		t.Errorf("a dry run stored a pod: %v", err)
	}

	before = installed.counters(t)
	created := appPod("same")
	created.Namespace = w.meshed
	if err := w.client.Create(t.Context(), created); err != nil {
		t.Fatal(err)
	}
	const admissions = `admissions_total{dry_run="false",reason="Injected",verdict="inject"`
	if more := installed.asked(t, before); more[admissions] != 1 {
		t.Errorf("after a creation the webhook counts %v", more)
	}
	checkSame(t, stored(t, created), stored(t, dry))
	checkSame(t, stored(t, created), stored(t, applied))

	var events corev1.EventList
	if err := w.client.List(t.Context(), &events, client.InNamespace(w.meshed)); err != nil || len(events.Items) > 0 {
		t.Errorf("there are %d events: %v", len(events.Items), err)
	}
}

// TestServerSideApply: a pod that is applied is injected once; what applied it owns
// what it said, and applying the same again changes nothing.
func TestServerSideApply(t *testing.T) {
	install(t, nil)
	w := newTwins(t, nil)
	// A port in a probe and a grace period cannot change in a pod that exists: a bare
	// pod that states them cannot be applied again once they were changed.
	pod := appPod("applied")
	pod.Spec.Containers[0].LivenessProbe = nil
	first := applyPod(t, w, pod)
	diff := applyPod(t, w, pod, client.DryRunAll)
	second := applyPod(t, w, pod)
	for _, again := range []*corev1.Pod{diff, second} {
		if again.ResourceVersion != first.ResourceVersion {
			t.Errorf("applying the same pod again changes it:\n%s", cmp.Diff(first, again))
		}
	}
	container(t, second, "envoy")
}

func applyPod(t *testing.T, w *twins, pod *corev1.Pod, options ...client.ApplyOption) *corev1.Pod {
	t.Helper()
	fields := map[string]any{}
	pod = pod.DeepCopy()
	pod.Namespace, pod.APIVersion, pod.Kind = w.meshed, "v1", "Pod"
	decode(t, asJSON(t, pod), &fields)
	delete(fields, "status")
	unstructuredPod := &unstructured.Unstructured{Object: fields}
	if err := w.client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(unstructuredPod), append([]client.ApplyOption{client.FieldOwner("test")}, options...)...); err != nil {
		t.Fatal(err)
	}
	applied := &corev1.Pod{}
	decode(t, asJSON(t, unstructuredPod), applied)
	applied.TypeMeta = metav1.TypeMeta{}
	return applied
}
