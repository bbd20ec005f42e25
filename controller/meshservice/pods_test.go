package meshservice

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// TestTrimPod holds that a pod that is trimmed twice, as client-go does it, is the same as
// one that is trimmed once, and that the pod's owner has no say in what is kept.
func TestTrimPod(t *testing.T) {
	deleted := metav1.Unix(1_700_000_000, 0)
	full := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p", UID: "u", ResourceVersion: "7", DeletionTimestamp: &deleted, Annotations: map[string]string{
			"pillion.dev/status": `{"version":"v","config":"c","plan":"p","service":"cart","added":["volumes/pillion-mesh"]}`,
			keptService:          "forged", "large": string(make([]byte, 10000)),
		}},
		Spec:   corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}},
		Status: corev1.PodStatus{PodIP: "10.0.0.1", Phase: corev1.PodRunning},
	}
	once, err := trimPod(full)
	if err != nil {
		t.Fatal(err)
	}
	want := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "n", Name: "p", UID: "u", ResourceVersion: "7", DeletionTimestamp: &deleted, Annotations: map[string]string{keptService: "cart", keptMount: ""}},
		Status:     corev1.PodStatus{PodIP: "10.0.0.1"},
	}
	if diff := cmp.Diff(want, once); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	twice, err := trimPod(once)
	if diff := cmp.Diff(want, twice); err != nil || diff != "" {
		t.Errorf("%v, trimmed twice (-want +got):\n%s", err, diff)
	}
}
