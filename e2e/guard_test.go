package e2e

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/e2e/release"
	"github.com/pillion-mesh/pillion/injector"
)

// The guard is expressions of the chart, which kube-apiserver computes; injector.Audit
// says the same in Go. TestGuardAgreesWithAudit holds the two together on random pods in random
// namespaces, as TestSelectorsAgreeWithDecide does for the webhook.

// guardOnly installs the chart without what calls the webhook, as if somebody had
// deleted it, and waits until the guard is in force.
func guardOnly(t *testing.T, values map[string]any) *installation {
	t.Helper()
	c := apiServer(t)
	ensureNamespace(t, c, ownNamespace)
	rendered, err := renderValues(t, values)
	if err != nil {
		t.Fatal(err)
	}
	rendered.Objects = slices.DeleteFunc(rendered.Objects, func(object *unstructured.Unstructured) bool {
		return strings.HasSuffix(object.GetKind(), "WebhookConfiguration")
	})
	if err := rendered.Install(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { uninstall(t, c, rendered) })
	config := configOf(t, rendered)
	installed := &installation{release: rendered}
	if installed.injector, err = injector.New(config); err != nil {
		t.Fatal(err)
	}
	waitForGuard(t, config.Revision)
	return installed
}

// waitForGuard returns when kube-apiserver has noticed both bindings.
func waitForGuard(t *testing.T, revision string) {
	t.Helper()
	for _, strict := range []string{"false", "true"} {
		labels := map[string]string{optInLabel: "true", strictLabel: strict}
		if revision != "" {
			labels[v1alpha1.RevisionLabel] = revision
		}
		pod := appPod("probe")
		pod.Namespace = newNamespace(t, apiServer(t), "guarded-", labels)
		eventually(t, "the guard is in force, strict: "+strict, func() bool {
			said, denied := guardSays(t, pod)
			return said != "" && denied == (strict == "true")
		})
	}
}

// guardSays is what the guard has to say of a pod, and whether it refuses it.
func guardSays(t *testing.T, pod *corev1.Pod) (said string, denied bool) {
	t.Helper()
	var warnings warned
	err := apiServer(t, &warnings).Create(t.Context(), pod.DeepCopy(), client.DryRunAll)
	const policy = "ValidatingAdmissionPolicy 'pillion"
	switch {
	case apierrors.IsForbidden(err) && strings.Contains(err.Error(), policy):
		return err.Error(), true
	case err != nil:
		t.Fatalf("creating %s/%s: %v\n%s", pod.Namespace, pod.Name, err, asJSON(t, pod))
	}
	for _, text := range warnings.texts {
		if strings.Contains(text, policy) {
			said += text
		}
	}
	return said, false
}

// injectedBy is a pod as an Injector returns it, and the pod itself where it gets no sidecar.
func injectedBy(t *testing.T, inj *injector.Injector, pod *corev1.Pod, labels map[string]string) *corev1.Pod {
	t.Helper()
	result := expected(t, inj, pod, labels)
	if result.Decision.Verdict != injector.Inject {
		return pod
	}
	encoded, err := injector.AppendPatch(nil, result.Patch)
	if err != nil {
		t.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(encoded)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := patch.Apply(asJSON(t, pod))
	if err != nil {
		t.Fatal(err)
	}
	injected := &corev1.Pod{}
	if err := json.Unmarshal(raw, injected); err != nil {
		t.Fatal(err)
	}
	return injected
}

// damage changes an injected pod as other webhooks do, or a plain one as owners do.
func (g *generator) damage(pod *corev1.Pod) {
	inits := slices.Clip(pod.Spec.InitContainers)
	switch g.IntN(9) {
	case 0:
		pod.Annotations[injector.StatusAnnotation] = [...]string{"{}", "garbage", `{"version":"v","config":"c"}`}[g.IntN(3)]
	case 1:
		pod.Spec.Containers = append(pod.Spec.Containers, corev1.Container{Name: "another", Image: "another"})
	case 2:
		pod.Spec.InitContainers = slices.Insert(inits, len(inits), corev1.Container{Name: "migrate", Image: "migrate"})
	case 3:
		pod.Spec.InitContainers = slices.Insert(inits, len(inits), corev1.Container{Name: "logs", Image: "logs", RestartPolicy: new(corev1.ContainerRestartPolicyAlways)})
	case 4:
		pod.Spec.InitContainers = slices.DeleteFunc(slices.Clone(inits), isPillionInit)
	}
	// In classic mode Envoy is beside the app's containers.
	if len(pod.Spec.Containers) > 1 && g.IntN(5) == 0 {
		pod.Spec.Containers = slices.DeleteFunc(slices.Clone(pod.Spec.Containers), isEnvoy)
	}
	g.damageNative(pod)
}

// damageNative is what only befalls a native sidecar.
func (g *generator) damageNative(pod *corev1.Pod) {
	inits := pod.Spec.InitContainers
	at := slices.IndexFunc(inits, isEnvoy)
	if at < 0 {
		return
	}
	switch g.IntN(6) {
	case 0:
		stripped(&inits[at])
	case 1:
		slices.Reverse(inits)
	case 2:
		pod.Spec.InitContainers = slices.Delete(slices.Clone(inits), at, at+1)
	case 3:
		pod.Spec.Containers = append(pod.Spec.Containers, stripped(&inits[at]))
		pod.Spec.InitContainers = slices.Delete(slices.Clone(inits), at, at+1)
	}
}

func isPillionInit(c corev1.Container) bool { return c.Name == injector.InitContainerName }

// stripped takes from a native sidecar what makes it one, as a client that was built
// for an older Kubernetes does, and what only a sidecar may have.
func stripped(c *corev1.Container) corev1.Container {
	c.RestartPolicy, c.StartupProbe, c.ReadinessProbe, c.Lifecycle = nil, nil, nil, nil
	return *c
}

// TestGuardAgreesWithAudit: the guard speaks of exactly those pods that an audit finds
// missed or damaged, and refuses them in strict namespaces alone.
func TestGuardAgreesWithAudit(t *testing.T) {
	for _, revision := range []string{"", "canary"} {
		t.Run("revision "+revision, func(t *testing.T) { testGuardAgrees(t, revision) })
	}
}

func testGuardAgrees(t *testing.T, revision string) {
	t.Helper()
	c := apiServer(t)
	g := newGenerator(t)
	for name, labels := range g.namespaces {
		labelNamespace(t, c, name, labels)
	}
	settings := map[string]any{"excludedNamespaces": g.excluded}
	if revision != "" {
		settings["revision"] = revision
	}
	installed := guardOnly(t, map[string]any{"injector": settings})
	for name, labels := range g.namespaces {
		probe := appPod("probe")
		probe.Namespace = name
		if auditedBy(t, installed.injector, probe, labels).State == injector.Missed {
			continue
		}
		// kube-apiserver may know the guard of an earlier test for some time still.
		eventually(t, "nothing is said in the namespace "+name, func() bool {
			said, _ := guardSays(t, probe)
			return said == ""
		})
	}
	seen := map[string]int{}
	for i := range 2 * podsPerPhase {
		pod := g.pod(i)
		if g.IntN(2) == 0 { // in most others there is nothing to guard
			pod.Namespace = g.served[revision]
		}
		labels := g.namespaces[pod.Namespace]
		if g.IntN(3) > 0 {
			if g.IntN(2) == 0 {
				pod.Annotations["pillion.dev/mode"] = "classic"
			}
			pod = injectedBy(t, installed.injector, pod, labels)
		}
		g.damage(pod)
		audit := auditedBy(t, installed.injector, pod, labels)
		seen[string(audit.State)]++
		if audit.Status != nil {
			seen[audit.Status.Mode+" "+string(audit.State)]++
		}
		found := audit.State == injector.Missed || audit.State == injector.Damaged
		said, denied := guardSays(t, pod)
		if (said != "") != found || denied != (found && labels[strictLabel] == "true") {
			t.Errorf("the audit says %s (%s), and the guard %q, denied: %t\n%s\n%s", audit.State, audit.Message, said, denied, g.describe(pod), asJSON(t, pod))
		}
	}
	t.Logf("states seen: %v", seen)
	for _, state := range []string{"native injected", "native damaged", "classic injected", "classic damaged", "missed", "not-injected"} {
		if seen[state] == 0 {
			t.Errorf("no pod was %s", state)
		}
	}
}

func auditedBy(t *testing.T, inj *injector.Injector, pod *corev1.Pod, labels map[string]string) injector.Audit {
	t.Helper()
	decoded, err := injector.DecodePod(asJSON(t, pod))
	if err != nil {
		t.Fatal(err)
	}
	audit := inj.Audit(injector.Request{Pod: decoded, Namespace: injector.Namespace{Name: pod.Namespace, Labels: labels}})
	// Of a pod with a sidecar an audit does not ask whether it should have one.
	if audit.State == injector.Damaged {
		if plain := expected(t, inj, withoutStatus(pod), labels); plain.Decision.Verdict == injector.Skip {
			return injector.Audit{State: injector.NotInjected}
		}
	}
	return audit
}

// withoutStatus is the pod as if it had never been injected.
func withoutStatus(pod *corev1.Pod) *corev1.Pod {
	plain := pod.DeepCopy()
	delete(plain.Annotations, injector.StatusAnnotation)
	return plain
}

// TestGuardSentences: what the guard says names the reason and what to do, with the
// names of the release.
func TestGuardSentences(t *testing.T) {
	installed := guardOnly(t, nil)
	for _, strict := range []string{"false", "true"} {
		labels := map[string]string{optInLabel: "true", strictLabel: strict}
		namespace := newNamespace(t, apiServer(t), "told-", labels)
		missed := appPod("missed")
		missed.Namespace = namespace
		missed.Annotations = map[string]string{}
		damaged := injectedBy(t, installed.injector, missed, labels)
		halved := damaged.DeepCopy()
		halved.Spec.InitContainers = slices.DeleteFunc(halved.Spec.InitContainers, isEnvoy)
		stripped(&damaged.Spec.InitContainers[1])
		for _, told := range []struct {
			pod  *corev1.Pod
			want []string
		}{
			{missed, []string{"no sidecar of Pillion: no webhook answered", "kubectl -n pillion-system rollout status deployment/pillion-webhook", "kubectl -n " + namespace + " rollout restart"}},
			{damaged, []string{"another webhook changed the sidecar", "restartPolicy Always", "pillion-init is the last init container", "kubectl get mutatingwebhookconfigurations", "kubectl -n " + namespace + " rollout restart"}},
			{halved, []string{"another webhook changed the sidecar"}},
		} {
			said, denied := guardSays(t, told.pod)
			for _, want := range told.want {
				if !strings.Contains(said, want) {
					t.Errorf("strict=%s: the guard does not say %q: %s", strict, want, said)
				}
			}
			if denied != (strict == "true") {
				t.Errorf("strict=%s: denied is %t", strict, denied)
			}
		}
	}
}

// TestGuardWithItsWebhook: while the webhook answers, the guard has nothing to say. When
// it does not, an ordinary namespace takes the pod with a warning and a mark in the
// audit log.
func TestGuardWithItsWebhook(t *testing.T) {
	installed := install(t, nil)
	namespace := newNamespace(t, apiServer(t), "silent-", map[string]string{optInLabel: "true"})
	pod := appPod("injected")
	pod.Namespace = namespace
	if said, denied := guardSays(t, pod); said != "" || denied {
		t.Errorf("the guard says %q, denied: %t", said, denied)
	}
	installed.stop(t)
	pod.Name = "warned"
	eventually(t, "the guard warns", func() bool {
		said, denied := guardSays(t, pod)
		return said != "" && !denied
	})
	pod.Name = "marked"
	if said, _ := guardSays(t, pod); said == "" {
		t.Error("the guard has stopped warning")
	}
	const mark = "validation.policy.admission.k8s.io/validation_failure"
	if got := auditOf(t, namespace, "marked")[mark]; !strings.Contains(got, "no sidecar of Pillion") {
		t.Errorf("the audit log says %q", got)
	}
}

// TestGuardNeedsKubernetes130: where the kinds do not exist, the chart renders none of
// them, so that it can be installed.
func TestGuardNeedsKubernetes130(t *testing.T) {
	for version, want := range map[string]bool{"1.29.14": false, "1.29.5-gke.100": false, "1.30.0": true, "1.30.1-gke.7": true, "1.37": true} {
		noteInputs(t)
		rendered, err := release.Render(t.Context(), release.Options{
			Helm: world.helmProgram, Chart: chartFolder, Name: "pillion", Namespace: ownNamespace, KubeVersion: version,
		})
		if err != nil {
			t.Fatal(err)
		}
		if got := rendered.Object("ValidatingAdmissionPolicy") != nil; got != want {
			t.Errorf("for Kubernetes %s there is a guard: %t", version, got)
		}
	}
}
