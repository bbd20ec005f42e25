package bench

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
)

// BenchmarkAdmission is our handler, from the request to the response.
func BenchmarkAdmission(b *testing.B) {
	handler := newAdmission(b)
	for _, c := range corpus(b, handler) {
		b.Run(c.name, func(b *testing.B) { c.measure(b, handler) })
	}
}

// BenchmarkFloor is what less would cost.
func BenchmarkFloor(b *testing.B) {
	cases := corpus(b, newAdmission(b))
	for _, f := range floors() {
		b.Run(f.name, func(b *testing.B) {
			for _, c := range cases {
				b.Run(c.name, func(b *testing.B) { c.measure(b, f.prepare(b, c)) })
			}
		})
	}
}

// A floor that answered something else would not be one.
func TestFloorsAnswerTheSame(t *testing.T) {
	for _, c := range corpus(t, newAdmission(t)) {
		var want corev1.Pod
		if err := json.Unmarshal(c.patched(t), &want); err != nil {
			t.Fatal(err)
		}
		for _, f := range floors() {
			if f.name == "constant" {
				continue
			}
			w := httptest.NewRecorder()
			f.prepare(t, c).ServeHTTP(w, c.request())
			var answer admissionv1.AdmissionReview
			if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || w.Code != http.StatusOK {
				t.Fatalf("%s/%s: HTTP %d, %s", f.name, c.name, w.Code, w.Body)
			}
			theirs := *c
			theirs.patch = answer.Response.Patch
			var got corev1.Pod
			if err := json.Unmarshal(theirs.patched(t), &got); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(&want, &got); diff != "" {
				t.Errorf("%s/%s (-ours +the floor's):\n%s", f.name, c.name, diff)
			}
		}
	}
}
