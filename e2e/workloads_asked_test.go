package e2e

import (
	"context"
	"net/http"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	batchv1 "k8s.io/api/batch/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// checkAsked does something, and holds that the webhook was asked this often about
// workloads of the kind and about nothing else.
func (i *installation) checkAsked(t *testing.T, what, kind string, times float64, do func() error) {
	t.Helper()
	before := i.counters(t)
	if err := do(); err != nil {
		t.Errorf("%s: %v", what, err)
	}
	want := map[string]float64{}
	if times > 0 {
		want[`workload_reviews_total{kind="`+kind+`"`] = times
	}
	if diff := cmp.Diff(want, i.asked(t, before)); diff != "" {
		t.Errorf("%s (-want +asked):\n%s", what, diff)
	}
}

// TestWorkloadUpdatesThatMatter: kube-apiserver asks only where something may have
// changed about what is looked at. Autoscalers and controllers are not held up.
func TestWorkloadUpdatesThatMatter(t *testing.T) {
	installed := install(t, nil)
	w := newTwins(t, nil)
	w.eventuallyReviewed(t)
	deployment := workload(t, "Deployment", "web", calmPod()).(*appsv1.Deployment)
	deployment.Namespace = w.meshed
	installed.checkAsked(t, "create", "Deployment", 1, func() error { return w.client.Create(t.Context(), deployment) })
	for _, c := range []struct {
		name   string
		times  float64
		change func()
	}{
		{"replicas", 0, func() { deployment.Spec.Replicas = new(int32(7)) }},
		{"strategy", 0, func() { deployment.Spec.MinReadySeconds = 5 }},
		{"finalizers", 0, func() { deployment.Finalizers = []string{"example.com/hold"} }},
		{"no finalizers", 0, func() { deployment.Finalizers = nil }},
		{"first label", 1, func() { deployment.Labels = map[string]string{optInLabel: "true"} }},
		{"last label", 1, func() { deployment.Labels = nil }},
		{"first annotation", 1, func() { deployment.Annotations = map[string]string{"note": "a"} }},
		{"other annotation", 1, func() { deployment.Annotations = map[string]string{"note": "b"} }},
		{"last annotation", 1, func() { deployment.Annotations = nil }},
		{"image", 1, func() { deployment.Spec.Template.Spec.Containers[0].Image = "app:2" }},
		{"template's annotation", 1, func() { deployment.Spec.Template.Annotations = map[string]string{"note": "a"} }},
	} {
		c.change()
		installed.checkAsked(t, c.name, "Deployment", c.times, func() error { return w.client.Update(t.Context(), deployment) })
	}
	installed.checkAsked(t, "status", "Deployment", 0, func() error {
		deployment.Status.ObservedGeneration = 1
		return w.client.Status().Update(t.Context(), deployment)
	})
	installed.checkAsked(t, "scale", "Deployment", 0, func() error {
		scale := &autoscalingv1.Scale{Spec: autoscalingv1.ScaleSpec{Replicas: 3}}
		return w.client.SubResource("scale").Update(t.Context(), deployment, client.WithSubResourceBody(scale))
	})
	installed.checkAsked(t, "delete", "Deployment", 0, func() error { return w.client.Delete(t.Context(), deployment) })

	cron := workload(t, "CronJob", "nightly", calmPod()).(*batchv1.CronJob)
	cron.Namespace = w.meshed
	installed.checkAsked(t, "create", "CronJob", 1, func() error { return w.client.Create(t.Context(), cron) })
	cron.Spec.Schedule = "@hourly"
	installed.checkAsked(t, "schedule", "CronJob", 0, func() error { return w.client.Update(t.Context(), cron) })
	cron.Spec.JobTemplate.Spec.Template.Spec.Containers[0].Image = "app:2"
	installed.checkAsked(t, "image", "CronJob", 1, func() error { return w.client.Update(t.Context(), cron) })
}

// TestWorkloadsOfControllers: what a controller makes is not asked about, since nobody
// reads the answer; what only belongs to something is.
func TestWorkloadsOfControllers(t *testing.T) {
	installed := install(t, nil)
	w := newTwins(t, nil)
	w.eventuallyReviewed(t)
	bad := calmPod()
	bad.Annotations = map[string]string{"pillion.dev/nonsense": ""}
	for _, c := range []struct {
		kind, owner string
		controller  *bool
		times       float64
	}{
		{"ReplicaSet", "Deployment", new(true), 0},
		{"Job", "CronJob", new(true), 0},
		{"StatefulSet", "Database", new(true), 0},
		{"ReplicaSet", "Deployment", new(false), 1},
		{"Job", "CronJob", nil, 1},
		{"ReplicaSet", "", nil, 1},
	} {
		object := workload(t, c.kind, "owned", bad)
		object.SetNamespace(w.meshed)
		if c.owner != "" {
			object.SetOwnerReferences([]metav1.OwnerReference{{APIVersion: "example.com/v1", Kind: c.owner, Name: "o", UID: "u", Controller: c.controller}})
		}
		before := installed.counters(t)
		if err := w.client.Create(t.Context(), object, client.DryRunAll); err != nil {
			t.Errorf("%s of a %s: %v", c.kind, c.owner, err)
		}
		if got := installed.asked(t, before)[`workload_reviews_total{kind="`+c.kind+`"`]; got != c.times {
			t.Errorf("%s of a %s: asked %v times, want %v", c.kind, c.owner, got, c.times)
		}
	}
}

// TestWorkloadsOfExcludedNamespaces are not asked about, by name nor by glob.
func TestWorkloadsOfExcludedNamespaces(t *testing.T) {
	installed := install(t, map[string]any{"injector": map[string]any{"excludedNamespaces": []any{"left-alone", "tmp-*"}}})
	w := newTwins(t, nil)
	w.eventuallyReviewed(t)
	for _, namespace := range []string{"left-alone", "tmp-1", "kube-system", ownNamespace} {
		labelNamespace(t, w.client, namespace, map[string]string{optInLabel: "true"})
		object := workload(t, "Deployment", "web", calmPod())
		object.SetNamespace(namespace)
		installed.checkAsked(t, namespace, "Deployment", 0, func() error { return w.client.Create(t.Context(), object, client.DryRunAll) })
	}
}

// TestWorkloadsAreNeverDenied: whatever becomes of the webhook, a workload is stored,
// in strict namespaces too, and nobody waits longer than the 2 s that the
// configuration allows: kube-apiserver's own 10 s would be over the request's time.
func TestWorkloadsAreNeverDenied(t *testing.T) {
	s, config := installStandIn(t, 2)
	good := handler(t, 256, config)
	released := make(chan struct{})
	t.Cleanup(func() { close(released) })
	for name, h := range map[string]http.Handler{
		"panic": http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Body = panicking{r.Body}
			good.ServeHTTP(w, r)
		}),
		"overload":         handler(t, 0, config),
		"no configuration": handler(t, 256, nil),
		"older version":    http.NotFoundHandler(),
		"connection cut":   http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }),
		"hangs": http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-r.Context().Done():
			case <-released:
			}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			w, strict := newTwins(t, nil), newTwins(t, map[string]string{strictLabel: "true"})
			s.answerWith(good)
			w.eventuallyReviewed(t)
			s.answerWith(h)
			for _, kind := range []string{"Deployment", "CronJob"} {
				w.storesInTime(t, w.meshed, kind)
				strict.storesInTime(t, strict.meshed, kind)
			}
			s.answerWith(good)
			w.eventuallyReviewed(t)
		})
	}
}

// TestWorkloadsWithoutAWebhook: nobody answers at all.
func TestWorkloadsWithoutAWebhook(t *testing.T) {
	installed := install(t, nil)
	w := newTwins(t, map[string]string{strictLabel: "true"})
	w.eventuallyReviewed(t)
	installed.stop(t)
	for kind := range workloadKinds() {
		w.storesInTime(t, w.meshed, kind)
	}
}

// storesInTime creates a workload that there would be something to say about.
func (w *twins) storesInTime(t *testing.T, namespace, kind string) {
	t.Helper()
	pod := calmPod()
	pod.Annotations = map[string]string{"pillion.dev/concurrency": "many"}
	object := workload(t, kind, "stored", pod)
	object.SetNamespace(namespace)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	w.warned.texts = nil
	if err := w.client.Create(ctx, object); err != nil || object.GetResourceVersion() == "" {
		t.Errorf("a %s is not stored: %v", kind, err)
	}
	checkWarned(t, w.warned.texts, nil)
}
