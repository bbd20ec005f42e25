package e2e

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/pillion-mesh/pillion/injector"
)

// TestPodsThatGetNoSidecar: "hostNetwork, hostPID pod; Windows node selector; mirror
// pod: skipped with reason". A pod that shares the node's processes but not its
// network has a network of its own to redirect, and is injected.
func TestPodsThatGetNoSidecar(t *testing.T) {
	installed := install(t, nil)
	w := newTwins(t, nil)
	for name, c := range map[string]struct {
		change func(pod *corev1.Pod)
		reason injector.Reason
	}{
		"host network":          {func(pod *corev1.Pod) { pod.Spec.HostNetwork = true }, injector.ReasonHostNetwork},
		"Windows node selector": {func(pod *corev1.Pod) { pod.Spec.NodeSelector = map[string]string{corev1.LabelOSStable: "windows"} }, injector.ReasonWindows},
		"Windows":               {func(pod *corev1.Pod) { pod.Spec.OS = &corev1.PodOS{Name: corev1.Windows} }, injector.ReasonWindows},
		"mirror pod": {func(pod *corev1.Pod) {
			pod.Annotations = map[string]string{corev1.MirrorPodAnnotationKey: "checksum"}
			pod.Spec.NodeName = "node" // else kube-apiserver refuses it
		}, injector.ReasonMirrorPod},
		"opted out": {func(pod *corev1.Pod) { pod.Labels[optInLabel] = "false" }, injector.ReasonOptedOut},
	} {
		t.Run(name, func(t *testing.T) {
			pod := appPod("skipped")
			c.change(pod)
			w.checkUntouched(t, pod)
			pod.Namespace = w.meshed
			if got := expected(t, installed.injector, pod, w.labels); got.Decision.Reason != c.reason {
				t.Errorf("the reason is %s, want %s", got.Decision.Reason, c.reason)
			}
		})
	}
	t.Run("host PID", func(t *testing.T) {
		pod := appPod("host-pid")
		pod.Spec.HostPID = true
		w.create(t, pod)
	})
}

// TestInjectedPodComesBack: "already injected (ours): idempotent no-op". Somebody
// reads a pod, with `kubectl get -o yaml`, and creates it again.
func TestInjectedPodComesBack(t *testing.T) {
	install(t, nil)
	w := newTwins(t, nil)
	for _, mode := range []string{"native", "classic"} {
		pod := appPod(mode)
		pod.Annotations = map[string]string{"pillion.dev/mode": mode}
		injected, _ := w.create(t, pod)
		injected.ResourceVersion, injected.UID, injected.ManagedFields = "", "", nil
		again, err := w.createIn(t, w.meshed, injected)
		if err != nil {
			t.Fatal(err)
		}
		checkSame(t, stored(t, injected), stored(t, again))
	}
}

// TestOtherMeshIsRefused: "already injected (Istio / Linkerd sidecar): refuse".
func TestOtherMeshIsRefused(t *testing.T) {
	install(t, nil)
	w := newTwins(t, nil)
	for sidecar, mesh := range map[string]string{"istio-proxy": "Istio", "istio-init": "Istio", "linkerd-proxy": "Linkerd", "linkerd-init": "Linkerd"} {
		for _, init := range []bool{false, true} {
			pod := appPod("other-mesh")
			path := "spec.containers[1].name"
			if c := (corev1.Container{Name: sidecar, Image: sidecar}); init {
				pod.Spec.InitContainers, path = append(pod.Spec.InitContainers, c), "spec.initContainers[0].name"
			} else {
				pod.Spec.Containers = append(pod.Spec.Containers, c)
			}
			w.checkRefused(t, pod, injector.ReasonOtherMesh, path, mesh)
		}
	}
}

// checkRefused holds that kube-apiserver takes the pod without the mesh, and with
// it refuses the pod, saying all of that.
func (w *twins) checkRefused(t *testing.T, pod *corev1.Pod, reason injector.Reason, texts ...string) {
	t.Helper()
	if _, err := w.createIn(t, w.plain, pod); err != nil {
		t.Fatalf("kube-apiserver refuses the pod even without the mesh: %v", err)
	}
	_, err := w.createIn(t, w.meshed, pod)
	if err == nil {
		t.Errorf("the pod is not refused: %s", asJSON(t, pod))
		return
	}
	for _, text := range append(texts, reason.String(), "inject.pillion.dev") {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("the refusal lacks %q: %v", text, err)
		}
	}
}
