package e2e

import (
	"maps"
	"slices"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/injector"
)

// workloadKinds are the kinds that are looked at, with the path of the template.
func workloadKinds() map[string]string {
	const usual = "spec.template"
	return map[string]string{
		"Deployment": usual, "StatefulSet": usual, "DaemonSet": usual, "ReplicaSet": usual, "Job": usual,
		"CronJob": "spec.jobTemplate.spec.template",
	}
}

// calmPod is a template that has opted in and in which injection changes nothing
// outside of its own containers.
func calmPod() *corev1.Pod {
	pod := appPod("")
	pod.Spec.TerminationGracePeriodSeconds = new(int64(90))
	pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PreStop: &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"stop"}}}}
	return pod
}

// workload makes pods like this one.
func workload(t *testing.T, kind, name string, pod *corev1.Pod) client.Object {
	t.Helper()
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: maps.Clone(pod.Labels), Annotations: maps.Clone(pod.Annotations)}, Spec: *pod.Spec.DeepCopy()}
	meta, selector := metav1.ObjectMeta{Name: name}, &metav1.LabelSelector{MatchLabels: map[string]string{"app": "shop"}}
	if strings.HasSuffix(kind, "Job") {
		template.Spec.RestartPolicy = corev1.RestartPolicyNever
	}
	switch kind {
	case "Deployment":
		return &appsv1.Deployment{ObjectMeta: meta, Spec: appsv1.DeploymentSpec{Selector: selector, Template: template}}
	case "StatefulSet":
		return &appsv1.StatefulSet{ObjectMeta: meta, Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template}}
	case "DaemonSet":
		return &appsv1.DaemonSet{ObjectMeta: meta, Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template}}
	case "ReplicaSet":
		return &appsv1.ReplicaSet{ObjectMeta: meta, Spec: appsv1.ReplicaSetSpec{Selector: selector, Template: template}}
	case "Job":
		return &batchv1.Job{ObjectMeta: meta, Spec: batchv1.JobSpec{Template: template}}
	case "CronJob":
		return &batchv1.CronJob{ObjectMeta: meta, Spec: batchv1.CronJobSpec{Schedule: "@daily", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: template}}}}
	}
	t.Fatalf("no workload of kind %s", kind)
	return nil
}

// send creates a workload in a namespace. It has to be accepted; what kube-apiserver
// warned of is returned.
func (w *twins) send(t *testing.T, namespace string, object client.Object, options ...client.CreateOption) []string {
	t.Helper()
	w.warned.texts = nil
	object.SetNamespace(namespace)
	if err := w.client.Create(t.Context(), object, options...); err != nil {
		t.Errorf("a workload is refused: %v", err)
	}
	return slices.Clone(w.warned.texts)
}

// eventuallyReviewed waits until kube-apiserver calls the webhook about workloads.
func (w *twins) eventuallyReviewed(t *testing.T) {
	t.Helper()
	pod := calmPod()
	pod.Annotations = map[string]string{"pillion.dev/nonsense": ""}
	eventually(t, "kube-apiserver asks about workloads", func() bool {
		return len(w.send(t, w.meshed, workload(t, "Deployment", "probe", pod), client.DryRunAll)) > 0
	})
}

// warnedCase is a workload and what is said about it.
type warnedCase struct {
	name   string
	change func(above *metav1.ObjectMeta, pod *corev1.Pod)
	// want are the starts of the warnings.
	want []string
}

func warnedCases(kind, path string) []warnedCase {
	who := kind + " web: "
	return []warnedCase{
		{"fine", func(*metav1.ObjectMeta, *corev1.Pod) {}, nil},
		{"not opted in", func(_ *metav1.ObjectMeta, pod *corev1.Pod) { delete(pod.Labels, optInLabel) }, nil},
		{"label on the workload", func(above *metav1.ObjectMeta, pod *corev1.Pod) {
			delete(pod.Labels, optInLabel)
			above.Labels = map[string]string{optInLabel: "true"}
		}, []string{"PIL063: " + who + "label " + optInLabel + " is in metadata.labels of the " + kind + ", where it has no effect; move it to " + path + ".metadata.labels"}},
		{"annotation on the workload", func(above *metav1.ObjectMeta, _ *corev1.Pod) {
			above.Annotations = map[string]string{"pillion.dev/mode": "native"}
		}, []string{"PIL064: " + who + "annotation pillion.dev/mode is in metadata.annotations of the " + kind + ", where it has no effect; move it to " + path + ".metadata.annotations"}},
		{"misspelled annotation", func(_ *metav1.ObjectMeta, pod *corev1.Pod) {
			pod.Annotations = map[string]string{"pillion.dev/log-levle": "info"}
		}, []string{"PIL050: " + who + "annotation pillion.dev/log-levle is not known and has no effect; did you mean pillion.dev/log-level?"}},
		{"refused", func(_ *metav1.ObjectMeta, pod *corev1.Pod) {
			pod.Annotations = map[string]string{"pillion.dev/concurrency": "many"}
		}, []string{"PIL066: " + who + "its pods will be refused: " + path + `.metadata.annotations[pillion.dev/concurrency]: Invalid value: "many": must be a whole number from 0 to 16`}},
		{"grace period raised", func(_ *metav1.ObjectMeta, pod *corev1.Pod) {
			pod.Spec.TerminationGracePeriodSeconds = new(int64(10))
		}, []string{"PIL053: " + who + "terminationGracePeriodSeconds raised from 10 to "}},
	}
}

// TestWorkloadWarnings: whoever applies a workload is told what is wrong or will be
// changed, and nobody else is told anything.
func TestWorkloadWarnings(t *testing.T) {
	install(t, nil)
	w, strict := newTwins(t, nil), newTwins(t, map[string]string{strictLabel: "true"})
	w.eventuallyReviewed(t)
	for kind, path := range workloadKinds() {
		for _, c := range warnedCases(kind, path) {
			t.Run(kind+"/"+c.name, func(t *testing.T) {
				object := func() client.Object {
					above, pod := metav1.ObjectMeta{}, calmPod()
					c.change(&above, pod)
					object := workload(t, kind, "web", pod)
					object.SetLabels(above.Labels)
					object.SetAnnotations(above.Annotations)
					return object
				}
				checkWarned(t, w.send(t, w.meshed, object(), client.DryRunAll), c.want)
				checkWarned(t, w.apply(t, object(), client.DryRunAll), c.want)
				checkWarned(t, strict.send(t, strict.meshed, object(), client.DryRunAll), c.want)
				checkWarned(t, w.send(t, w.plain, object(), client.DryRunAll), nil)
				checkWarned(t, w.apply(t, object()), c.want)
				checkWarned(t, w.apply(t, object()), nil) // the same again
				stored := object()
				stored.SetNamespace(w.meshed)
				if err := w.client.Delete(t.Context(), stored, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
					t.Error(err)
				}
				checkWarned(t, w.send(t, w.meshed, object()), c.want)
				if err := w.client.Delete(t.Context(), stored, client.PropagationPolicy(metav1.DeletePropagationBackground)); err != nil {
					t.Error(err)
				}
			})
		}
	}
}

// apply applies a workload on the server side, as `kubectl apply --server-side` does.
func (w *twins) apply(t *testing.T, object client.Object, options ...client.ApplyOption) []string {
	t.Helper()
	object.SetNamespace(w.meshed)
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(object)
	if err != nil {
		t.Fatal(err)
	}
	delete(fields, "status")
	applied := &unstructured.Unstructured{Object: fields}
	kinds, _, err := w.client.Scheme().ObjectKinds(object)
	if err != nil {
		t.Fatal(err)
	}
	applied.SetGroupVersionKind(kinds[0])
	w.warned.texts = nil
	options = append([]client.ApplyOption{client.FieldOwner("test"), client.ForceOwnership}, options...)
	if err := w.client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(applied), options...); err != nil {
		t.Errorf("a workload is refused: %v", err)
	}
	return slices.Clone(w.warned.texts)
}

// checkWarned holds that there is one warning for each of want, which it begins with.
func checkWarned(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.EqualFunc(got, want, strings.HasPrefix) {
		t.Errorf("the warnings are %q, want %q", got, want)
	}
}

// TestPodsAreRefusedInTheSameWords: what is warned of a workload is what its pods are
// then refused for.
func TestPodsAreRefusedInTheSameWords(t *testing.T) {
	install(t, nil)
	w := newTwins(t, nil)
	w.eventuallyReviewed(t)
	pod := calmPod()
	pod.Annotations = map[string]string{"pillion.dev/drain-time": "soon"}
	pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "istio-proxy", Image: "x"})
	warnings := w.send(t, w.meshed, workload(t, "Deployment", "web", pod), client.DryRunAll)
	pod.Name = "web-1"
	_, err := w.createIn(t, w.meshed, pod)
	if err == nil || len(warnings) != 2 {
		t.Fatalf("the warnings are %q, the pod gets %v", warnings, err)
	}
	for _, warning := range warnings {
		_, words, _ := strings.Cut(warning, "its pods will be refused: spec.template.")
		if words == "" || !strings.Contains(err.Error(), words) {
			t.Errorf("warned of %q, and the pod is refused with %v", warning, err)
		}
	}
	if !strings.Contains(err.Error(), injector.ReasonAnnotationValue.Code) {
		t.Error(err)
	}
}

// TestUpgradeKeepsTheReviewersCA is TestChartUpgradeKeepsTheCABundle for workloads.
func TestUpgradeKeepsTheReviewersCA(t *testing.T) {
	installed := install(t, nil)
	w := newTwins(t, nil)
	w.eventuallyReviewed(t)
	if err := installed.release.Install(t.Context(), w.client); err != nil {
		t.Fatal(err)
	}
	configuration := installed.release.Object("ValidatingWebhookConfiguration").DeepCopy()
	if err := w.client.Get(t.Context(), client.ObjectKeyFromObject(configuration), configuration); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(asJSON(t, configuration)), `"caBundle"`) {
		t.Error("the caBundle is gone")
	}
}
