package e2e

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/pillion-mesh/pillion/injector"
)

// TestPodSecurity: "PSS baseline/restricted namespace: warn at injection with exact
// reason and remedy". kube-apiserver refuses the injected pod where the namespace
// enforces a level, and says of which container; it takes it where the namespace
// warns. The injector says the same before, when it is told the namespace's labels.
func TestPodSecurity(t *testing.T) {
	installed := install(t, nil)
	const prefix = "pod-security.kubernetes.io/"
	for name, c := range map[string]struct {
		labels  map[string]string
		refused bool
	}{
		"baseline":        {map[string]string{prefix + "enforce": "baseline"}, true},
		"restricted":      {map[string]string{prefix + "enforce": "restricted"}, true},
		"privileged":      {map[string]string{prefix + "enforce": "privileged"}, false},
		"warns of it":     {map[string]string{prefix + "warn": "baseline", prefix + "audit": "restricted"}, false},
		"strict baseline": {map[string]string{prefix + "enforce": "baseline", strictLabel: "true"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTwins(t, c.labels)
			pod := restrictedPod()
			pod.Namespace = w.meshed
			offline := expected(t, installed.injector, pod, w.labels)
			warns := slices.ContainsFunc(offline.Warnings, func(warning injector.Warning) bool {
				return warning.Reason == injector.ReasonPodSecurity && strings.Contains(warning.Message, "NET_ADMIN")
			})
			if warns != c.refused {
				t.Errorf("offline, the injector warns: %t (%v), and kube-apiserver is to refuse the pod: %t", warns, offline.Warnings, c.refused)
			}
			if !c.refused {
				w.create(t, pod)
				return
			}
			if _, err := w.createIn(t, w.plain, pod); err != nil {
				t.Fatalf("kube-apiserver refuses the pod even without the mesh: %v", err)
			}
			_, err := w.createIn(t, w.meshed, pod)
			if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "violates PodSecurity") || !strings.Contains(err.Error(), "NET_ADMIN") {
				t.Errorf("kube-apiserver says: %v", err)
			}
		})
	}
}

// TestSidecarIsRestricted: all that Pod Security holds against the injected pod is
// what pillion-init needs: its two capabilities, and root to use them.
func TestSidecarIsRestricted(t *testing.T) {
	install(t, nil)
	w := newTwins(t, map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
	for _, mode := range modes() {
		pod := restrictedPod()
		pod.Annotations = map[string]string{"pillion.dev/mode": mode}
		_, err := w.createIn(t, w.meshed, pod)
		if err == nil {
			t.Fatal("kube-apiserver takes NET_ADMIN under the level restricted")
		}
		_, violations, _ := strings.Cut(err.Error(), "violates PodSecurity")
		if strings.Contains(violations, "envoy") {
			t.Errorf("%s: the envoy container is not restricted: %v", mode, err)
		}
		for _, field := range []string{"allowPrivilegeEscalation", "seccompProfile", "privileged ", "hostPath", "capabilities.drop"} {
			if strings.Contains(violations, field) {
				t.Errorf("%s: pillion-init violates more than it needs, %s: %v", mode, field, err)
			}
		}
	}
}

// restrictedPod is one that every level takes.
func restrictedPod() *corev1.Pod {
	pod := appPod("restricted")
	pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false), RunAsNonRoot: new(true), RunAsUser: new(int64(1000)),
		Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	return pod
}
