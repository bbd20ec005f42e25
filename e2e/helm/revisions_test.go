package helm

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/e2e/release"
	"github.com/pillion-mesh/pillion/injector"
)

const optInLabel = "service-mesh-enabled"

// TestRevisions: two releases of the same name, with webhooks of different
// configuration, in one cluster. A namespace that its label moves from one to the other
// gets the other's sidecar; on the way there and back each pod has one.
func TestRevisions(t *testing.T) {
	c := apiClient(t)
	serve(t, c, "stable", "", "envoy:stable")
	serve(t, c, "canary", "canary", "envoy:canary")
	const team = "team-that-moves"
	ensureNamespace(t, c, team, map[string]string{optInLabel: "true"})
	ensureNamespace(t, c, "team-that-stays", map[string]string{optInLabel: "true", "pillion.dev/strict": "true"})
	eventually(t, "the stable release injects", func() bool { return sidecars(t, c, team) == "envoy:stable " })
	for _, move := range []struct {
		to    string // value of the label; none without it
		image string
	}{
		{"canary", "envoy:canary canary"}, {"", "envoy:stable "}, {"canary", "envoy:canary canary"},
	} {
		t.Run("to "+move.to, func(t *testing.T) {
			relabel(t, c, team, move.to)
			eventually(t, "the namespace is moved", func() bool {
				switch got := sidecars(t, c, team); got {
				case move.image:
					return true
				case "envoy:stable ", "envoy:canary canary":
					return false
				default:
					t.Fatalf("on the way a pod has the sidecars %q", got)
					return false
				}
			})
			for range 50 {
				if got := sidecars(t, c, team); got != move.image {
					t.Errorf("a pod has the sidecars %q, want %q", got, move.image)
				}
				if got := sidecars(t, c, "team-that-stays"); got != "envoy:stable " {
					t.Errorf("in another namespace a pod has the sidecars %q", got)
				}
			}
		})
	}
	t.Run("to a revision that nobody installed", func(t *testing.T) {
		relabel(t, c, team, "beta")
		eventually(t, "no pod is injected", func() bool { return sidecars(t, c, team) == "" })
	})
}

// serve applies a release called pillion and starts its webhook.
func serve(t *testing.T, c client.Client, namespace, revision, envoy string) {
	t.Helper()
	webhook, err := release.Ports()
	if err != nil {
		t.Fatal(err)
	}
	webhook["shutdownDelaySeconds"], webhook["extraArgs"] = 0, []string{"--host=localhost"}
	settings := map[string]any{"images": map[string]any{"envoy": envoy}}
	if revision != "" {
		settings["revision"] = revision
	}
	values, err := yaml.Marshal(map[string]any{"webhook": webhook, "tls": map[string]any{"source": "provided"}, "injector": settings})
	if err != nil {
		t.Fatal(err)
	}
	r := world.helms[0].render(t, "pillion", namespace, string(values))
	ensureNamespace(t, c, namespace, nil)
	if err := r.Install(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	for _, object := range r.Objects {
		t.Cleanup(func() { remove(t, c, object) })
	}
	running, err := r.StartWebhook(t.Context(), world.webhook, t.TempDir(), t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := running.Stop(); err != nil {
			t.Error(err)
		}
	})
	if err := r.TrustCA(t.Context(), c, running.CA); err != nil {
		t.Fatal(err)
	}
}

// sidecars are the images of a new pod's Envoys, with the revision that its status
// annotation names.
func sidecars(t *testing.T, c client.Client, namespace string) string {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "pod-", Namespace: namespace, Labels: map[string]string{optInLabel: "true"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
	if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil {
		t.Fatal(err)
	}
	var images []string
	for _, container := range slices.Concat(pod.Spec.InitContainers, pod.Spec.Containers) {
		if strings.HasPrefix(container.Image, "envoy:") {
			images = append(images, container.Image)
		}
	}
	if len(images) == 0 {
		return ""
	}
	status, err := injector.ParseStatus(pod.Annotations[injector.StatusAnnotation])
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(images, " ") + " " + status.Revision
}

// relabel gives the namespace a revision, or takes it away.
func relabel(t *testing.T, c client.Client, namespace, revision string) {
	t.Helper()
	value := any(revision)
	if revision == "" {
		value = nil
	}
	patch, err := json.Marshal(map[string]any{"metadata": map[string]any{"labels": map[string]any{v1alpha1.RevisionLabel: value}}})
	if err != nil {
		t.Fatal(err)
	}
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	if err := c.Patch(t.Context(), object, client.RawPatch("application/merge-patch+json", patch)); err != nil {
		t.Fatal(err)
	}
}

// TestReleasesSideBySide: releases of different revisions have no name in common that
// belongs to no namespace, whatever they are called; two of one revision, which would
// both answer for the same pods, Helm refuses.
func TestReleasesSideBySide(t *testing.T) {
	for _, p := range world.helms {
		t.Run(p.name, func(t *testing.T) {
			// pillion.a-b is not pillion-a.b, and so on.
			for _, at := range []struct{ name, revision string }{{"pillion", ""}, {"pillion", "b"}, {"pillion", "a-b"}, {"pillion-a", "b"}, {"pillion-a", ""}, {"pillion-a-b", ""}} {
				namespace := strings.ToLower(fmt.Sprintf("side-%s-%s-%s", p.name, at.name, "r"+at.revision))
				in := []string{"--namespace", namespace}
				set := []string{}
				if at.revision != "" {
					set = []string{"--set", "injector.revision=" + at.revision}
				}
				p.run(t, slices.Concat([]string{"install", at.name, chartFolder, "--create-namespace"}, in, set)...)
				t.Cleanup(func() { p.run(t, append([]string{"uninstall", at.name}, in...)...) })
			}
			output, err := p.try(t, "install", "pillion", chartFolder, "--create-namespace", "--namespace", "side-again", "--set", "injector.revision=b")
			if err == nil || !strings.Contains(output, "invalid ownership metadata") {
				t.Errorf("a second release of revision b: %v\n%s", err, output)
			}
		})
	}
}
