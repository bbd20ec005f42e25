package bench

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// BenchmarkWorkload is a review of the Deployment whose pods BenchmarkAdmission
// injects. It waits for a person, so it has no floor.
func BenchmarkWorkload(b *testing.B) {
	handler := newAdmission(b)
	for _, c := range corpus(b, handler) {
		b.Run(c.name, func(b *testing.B) { c.deployment(b).measure(b, handler) })
	}
}

// deployment is a review of a Deployment that makes the case's pod.
func (c *reviewCase) deployment(tb testing.TB) *reviewCase {
	tb.Helper()
	var pod corev1.Pod
	if err := json.Unmarshal(c.pod, &pod); err != nil {
		tb.Fatal(err)
	}
	object := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Name: "web", Namespace: pod.Namespace},
		Spec:       appsv1.DeploymentSpec{Template: corev1.PodTemplateSpec{ObjectMeta: pod.ObjectMeta, Spec: pod.Spec}},
	}
	review := &admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "u", Kind: metav1.GroupVersionKind{Group: "apps", Version: "v1", Kind: "Deployment"}, Namespace: pod.Namespace,
			Operation: admissionv1.Update, Object: runtime.RawExtension{Raw: encode(tb, object)}, OldObject: runtime.RawExtension{Raw: encode(tb, object)},
		},
	}
	return &reviewCase{name: c.name, path: "/validate-workload", review: encode(tb, review), uid: "u"}
}

// What BenchmarkWorkload measures is a review.
func TestWorkloadBenchmarkIsAnswered(t *testing.T) {
	handler := newAdmission(t)
	for _, c := range corpus(t, handler) {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, c.deployment(t).request())
		var answer admissionv1.AdmissionReview
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK || !answer.Response.Allowed {
			t.Fatalf("%s: HTTP %d, %s", c.name, w.Code, w.Body)
		}
		if c.name == "service" && len(answer.Response.Warnings) == 0 {
			t.Error("the service pod's grace period is raised, and nobody is told")
		}
	}
}
