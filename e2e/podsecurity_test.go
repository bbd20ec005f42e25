package e2e

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

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

// TestWorkloadIsWarnedOfPodSecurity: who applies a workload in a namespace that will
// refuse its pods is told, with the words of `pillionctl why -f`, of what kube-apiserver
// then refuses; and nobody is told of what it will take.
func TestWorkloadIsWarnedOfPodSecurity(t *testing.T) {
	install(t, nil)
	const prefix = "pod-security.kubernetes.io/"
	for name, c := range map[string]struct {
		labels map[string]string
		// refused is what kube-apiserver refuses, and named how the warning calls it.
		refused, named []string
	}{
		"baseline":    {map[string]string{prefix + "enforce": "baseline"}, []string{`"NET_ADMIN", "NET_RAW"`}, []string{"NET_ADMIN and NET_RAW"}},
		"restricted":  {map[string]string{prefix + "enforce": "restricted"}, []string{`"NET_ADMIN", "NET_RAW"`, "runAsNonRoot=false", "runAsUser=0"}, []string{"NET_ADMIN and NET_RAW", "runAsNonRoot: false", "runAsUser: 0"}},
		"privileged":  {map[string]string{prefix + "enforce": "privileged"}, nil, nil},
		"warns of it": {map[string]string{prefix + "warn": "baseline"}, nil, nil},
		"no label":    {nil, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			w := newTwins(t, c.labels)
			w.eventuallyReviewed(t)
			pod := restrictedPod()
			pod.Spec.TerminationGracePeriodSeconds, pod.Spec.Containers[0].Lifecycle = calmPod().Spec.TerminationGracePeriodSeconds, calmPod().Spec.Containers[0].Lifecycle
			deployment := workload(t, "Deployment", "web", pod)
			warnings := slices.DeleteFunc(w.send(t, w.meshed, deployment, client.DryRunAll), func(text string) bool { return !strings.HasPrefix(text, "PIL") })
			if c.refused == nil {
				if len(warnings) > 0 {
					t.Errorf("it warns %q", warnings)
				}
				return
			}
			if len(warnings) != 1 || !strings.HasPrefix(warnings[0], injector.ReasonPodSecurity.Code+": Deployment web: ") {
				t.Fatalf("it warns %q", warnings)
			}
			pod.Name = "web-1"
			_, err := w.createIn(t, w.meshed, pod)
			for n := range c.refused {
				if err == nil || !strings.Contains(err.Error(), c.refused[n]) || !strings.Contains(warnings[0], c.named[n]) {
					t.Errorf("warned of %q, want %q; kube-apiserver says %v, want %q", warnings[0], c.named[n], err, c.refused[n])
				}
			}
			if offline := w.why(t, deployment); !strings.HasSuffix(warnings[0], offline) {
				t.Errorf("warned of %q, and `why -f` says %q", warnings[0], offline)
			}
		})
	}
}

// why is what `pillionctl why -f` says of a workload's Pod Security in the meshed
// namespace, whose manifest it is given.
func (w *twins) why(t *testing.T, object client.Object) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "list.json")
	object = object.DeepCopyObject().(client.Object)
	object.SetNamespace(w.meshed)
	list := map[string]any{"apiVersion": "v1", "kind": "List", "items": []any{
		map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": w.meshed, "labels": w.labels}},
		asManifest(t, object),
	}}
	if err := os.WriteFile(file, asJSON(t, list), 0o600); err != nil {
		t.Fatal(err)
	}
	run := ctl(t, "why", "-f", file, "-o", "json")
	var accounts []struct {
		Warnings []struct{ Code, Message string }
	}
	run.into(t, &accounts)
	for _, warning := range accounts[0].Warnings {
		if warning.Code == injector.ReasonPodSecurity.Code {
			return warning.Message
		}
	}
	t.Fatalf("it says nothing: %s", run.stdout)
	return ""
}

// asManifest is an object with its kind, as in a file.
func asManifest(t *testing.T, object client.Object) map[string]any {
	t.Helper()
	kinds, _, err := scheme.Scheme.ObjectKinds(object)
	if err != nil {
		t.Fatal(err)
	}
	var manifest map[string]any
	decode(t, asJSON(t, object), &manifest)
	manifest["apiVersion"], manifest["kind"] = kinds[0].GroupVersion().String(), kinds[0].Kind
	return manifest
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
