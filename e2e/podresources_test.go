package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// A pod that is sized as a whole has, with a sidecar, what it had without one and
// the sidecar's share: also where Kubernetes takes its limit for its request.
func TestPodSizedAsAWhole(t *testing.T) {
	install(t, nil)
	w := newTwins(t, nil)
	sidecar := map[corev1.ResourceName]resource.Quantity{"cpu": resource.MustParse("100m"), "memory": resource.MustParse("128Mi")}
	for name, whole := range map[string]corev1.ResourceRequirements{
		"requests":            {Requests: quantities("1", "1Gi")},
		"requests and limits": {Requests: quantities("1", "1Gi"), Limits: quantities("2", "2Gi")},
		"limits alone":        {Limits: quantities("2", "2Gi")},
	} {
		t.Run(name, func(t *testing.T) {
			stored := func(namespace string) corev1.ResourceList {
				pod := appPod("whole")
				pod.Namespace = namespace
				pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{}
				pod.Spec.Resources = whole.DeepCopy()
				if err := w.client.Create(t.Context(), pod, client.DryRunAll); err != nil {
					t.Fatal(err)
				}
				return pod.Spec.Resources.Requests
			}
			plain, meshed := stored(w.plain), stored(w.meshed)
			for resourceName, share := range sidecar {
				want := plain[resourceName]
				want.Add(share)
				if got := meshed[resourceName]; got.Cmp(want) != 0 {
					t.Errorf("%s: %s without the sidecar, %s with it, want %s", resourceName, new(plain[resourceName]).String(), got.String(), want.String())
				}
			}
		})
	}
}
