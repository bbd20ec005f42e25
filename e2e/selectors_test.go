package e2e

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
)

// An AdmissionReview carries no labels of the namespace, so half of the opt-in is
// decided by kube-apiserver, from what the chart writes into the webhook
// configuration, and half by the injector. These tests hold the two together on
// random pods in random namespaces.

var selectorsSeed = flag.Uint64("selectors.seed", 0, "seed of the random pods and namespaces; 0 takes one from the clock")

// podsPerPhase is enough for each of the selectors and conditions to be missed, were
// it missing; they take a second or two.
const podsPerPhase = 400

// labelValues hold the opt-in value, what nearly is it, and what means no.
var labelValues = [...]string{"true", "True", "TRUE", "yes", "enabled", "", "1", "t", "false", "False", "no", "off", "0", "disabled"}

// generator of namespaces and pods.
type generator struct {
	*rand.Rand
	// excluded are names and globs for the configuration.
	excluded []any
	// namespaces by name with their labels, and the names alone.
	namespaces map[string]map[string]string
	names      []string
	// served are namespaces in which a release injects, by its revision.
	served map[string]string
}

// newGenerator chooses the namespaces. Their names are new in every run: a
// namespace that kube-apiserver has not seen yet it looks up, while labels that
// change take it a moment to notice.
func newGenerator(t *testing.T) *generator {
	t.Helper()
	seed := *selectorsSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("again with: -selectors.seed=%d", seed)
	g := &generator{Rand: rand.New(rand.NewPCG(seed, seed)), namespaces: map[string]map[string]string{}}
	token := strconv.FormatUint(uint64(time.Now().UnixNano()), 36)
	g.excluded = []any{token + "-legacy", token + "-team-?", token + "-tmp-*", "*-infra-" + token}
	// Each excluded one has a neighbour that is not.
	for _, name := range []string{
		"T-legacy", "T-legacy2", "T-team-a", "T-team-b", "T-team-ab", "xT-team-a", "T-tmp-1", "T-tmp-x-y", "T-tmp",
		"db-infra-T", "a-b-infra-T", "infra-T", "T-shop-0", "T-shop-1", "T-shop-2", "T-shop-3", "T-shop-4", "T-shop-5",
	} {
		labels := map[string]string{}
		g.label(labels, optInLabel, 0.8)
		g.label(labels, strictLabel, 0.5)
		// Nothing, this release's revision when it is canary, another one, and a label
		// that is empty, which is no revision at all.
		if n := g.IntN(6); n < 3 {
			labels[v1alpha1.RevisionLabel] = [...]string{"canary", "beta", ""}[n]
		}
		g.namespaces[strings.ReplaceAll(name, "T", token)] = labels
	}
	// Of either release there is one in which pods are injected.
	g.served = map[string]string{"": token + "-shop-0", "canary": token + "-shop-1"}
	g.namespaces[g.served[""]] = map[string]string{optInLabel: "true", strictLabel: "true"}
	g.namespaces[g.served["canary"]] = map[string]string{optInLabel: "true", v1alpha1.RevisionLabel: "canary"}
	for _, name := range []string{ownNamespace, "kube-system", "kube-node-lease"} {
		g.namespaces[name] = map[string]string{optInLabel: "true", strictLabel: "true"}
	}
	g.names = slices.Sorted(maps.Keys(g.namespaces))
	return g
}

// label sets a label to the value that counts as often as asked for, and at random
// to something else or nothing otherwise.
func (g *generator) label(labels map[string]string, key string, often float64) {
	switch {
	case g.Float64() < often:
		labels[key] = "true"
	case g.IntN(3) > 0:
		labels[key] = labelValues[g.IntN(len(labelValues))]
	}
}

func (g *generator) pod(i int) *corev1.Pod {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("pod-%d", i), Namespace: g.names[g.IntN(len(g.names))],
			Labels: map[string]string{}, Annotations: map[string]string{},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
	g.label(pod.Labels, optInLabel, 0.6)
	switch g.IntN(12) {
	case 0:
		pod.Annotations[corev1.MirrorPodAnnotationKey] = "checksum"
		pod.Spec.NodeName = "node" // else kube-apiserver refuses it
	case 1:
		pod.Spec.HostNetwork = true
	case 2:
		pod.Spec.OS = &corev1.PodOS{Name: corev1.Windows}
	case 3:
		pod.Spec.NodeSelector = map[string]string{corev1.LabelOSStable: "windows"}
	case 4:
		pod.Spec.NodeSelector = map[string]string{corev1.LabelOSStable: "linux"}
	case 5, 6:
		pod.Annotations["pillion.dev/log-level"] = "loud"
	}
	return pod
}

// expected is what the injector says of the pod, knowing the namespace's labels.
func expected(t *testing.T, inj *injector.Injector, pod *corev1.Pod, labels map[string]string) injector.Result {
	t.Helper()
	raw, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := injector.DecodePod(raw)
	if err != nil {
		t.Fatal(err)
	}
	return inj.Inject(injector.Request{
		Pod: decoded, Namespace: injector.Namespace{Name: pod.Namespace, Labels: labels}, Now: time.Now(),
	})
}

// outcome is what kube-apiserver made of the pod.
func outcome(t *testing.T, c client.Client, pod *corev1.Pod) (injector.Verdict, error) {
	t.Helper()
	created := pod.DeepCopy()
	err := c.Create(t.Context(), created, client.DryRunAll)
	switch {
	case apierrors.IsForbidden(err) || apierrors.IsInternalError(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err):
		return injector.Refuse, err
	case err != nil:
		t.Fatalf("creating %s/%s: %v", pod.Namespace, pod.Name, err)
	case slices.ContainsFunc(slices.Concat(created.Spec.InitContainers, created.Spec.Containers), isEnvoy):
		return injector.Inject, nil
	}
	return injector.Skip, nil
}

func isEnvoy(c corev1.Container) bool { return c.Name == "envoy" }

// describe is what decides about a pod.
func (g *generator) describe(pod *corev1.Pod) string {
	text, err := json.Marshal(map[string]any{
		"namespace": pod.Namespace, "namespaceLabels": g.namespaces[pod.Namespace], "labels": pod.Labels,
		"annotations": pod.Annotations, "hostNetwork": pod.Spec.HostNetwork, "os": pod.Spec.OS, "nodeSelector": pod.Spec.NodeSelector,
	})
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// TestSelectorsAgreeWithDecide: with the webhook up, kube-apiserver's selectors and
// match conditions, and the webhook behind them, do to each pod exactly what the
// injector alone says when it is told the namespace's labels.
//
// With the webhook down, what is left is the selectors' and match conditions' own
// answer: a strict namespace refuses the pods that would have got a sidecar (or a
// refusal), and neither there nor anywhere else is a pod held up that would not.
func TestSelectorsAgreeWithDecide(t *testing.T) {
	for _, revision := range []string{"", "canary"} {
		t.Run("revision "+revision, func(t *testing.T) { testSelectorsAgree(t, revision) })
	}
}

func testSelectorsAgree(t *testing.T, revision string) {
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
	installed := install(t, map[string]any{"injector": settings})
	// kube-apiserver may still hold the guard of a release that was there before.
	for _, name := range g.names {
		pod := appPod("probe")
		pod.Namespace = name
		if expected(t, installed.injector, pod, g.namespaces[name]).Decision.Verdict == injector.Skip {
			eventually(t, "pods of "+name+" are passed over", func() bool {
				verdict, _ := outcome(t, c, pod)
				return verdict == injector.Skip
			})
		}
	}

	seen := map[string]int{}
	for i := range podsPerPhase {
		pod := g.pod(i)
		want := expected(t, installed.injector, pod, g.namespaces[pod.Namespace])
		if got, err := outcome(t, c, pod); got != want.Decision.Verdict {
			t.Errorf("the injector says %s (%s), kube-apiserver's answer is %s (%v):\n%s",
				want.Decision.Verdict, want.Decision.Reason, got, err, g.describe(pod))
		}
		seen[want.Decision.Reason.Name]++
	}
	t.Logf("reasons seen: %v", seen)

	installed.stop(t)
	for i := range podsPerPhase {
		pod := g.pod(i)
		result := expected(t, installed.injector, pod, g.namespaces[pod.Namespace])
		got, err := outcome(t, c, pod)
		if want, ok := withoutWebhook(result, g.namespaces[pod.Namespace]); ok && got != want {
			t.Errorf("no webhook answers and the injector would say %s (%s), kube-apiserver's answer is %s (%v):\n%s",
				result.Decision.Verdict, result.Decision.Reason, got, err, g.describe(pod))
		}
		if err != nil && !strings.Contains(err.Error(), "strict.inject.pillion.dev") {
			t.Errorf("refused by something else than the strict entry: %v", err)
		}
	}
}

// withoutWebhook is what is to happen to a pod while no webhook answers. It is not
// ok where both would do: a label that is nearly right in a strict namespace.
func withoutWebhook(result injector.Result, labels map[string]string) (verdict injector.Verdict, ok bool) {
	strict := labels[strictLabel] == "true"
	switch {
	case strict && result.Decision.Reason == injector.ReasonLabelValue:
		return "", false
	case strict && result.Decision.Verdict != injector.Skip:
		return injector.Refuse, true
	}
	return injector.Skip, true
}

// warned collects what kube-apiserver warns a client of.
type warned struct{ texts []string }

func (w *warned) HandleWarningHeaderWithContext(_ context.Context, _ int, _, text string) {
	w.texts = append(w.texts, text)
}

// TestNearlyRightLabelIsAnswered: the objectSelector lets every value of the label
// through, so that an owner who wrote "True" is told.
func TestNearlyRightLabelIsAnswered(t *testing.T) {
	install(t, nil)
	for _, strict := range []string{"false", "true"} {
		namespace := "nearly-" + strict
		labelNamespace(t, apiServer(t), namespace, map[string]string{optInLabel: "true", strictLabel: strict})
		var warnings warned
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: "nearly", Namespace: namespace, Labels: map[string]string{optInLabel: "True"}},
			Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
		}
		if err := apiServer(t, &warnings).Create(t.Context(), pod, client.DryRunAll); err != nil {
			t.Fatal(err)
		}
		if !slices.ContainsFunc(warnings.texts, func(text string) bool { return strings.Contains(text, optInLabel) }) {
			t.Errorf("%s=%s: nobody said that the label's value does not count: %q", strictLabel, strict, warnings.texts)
		}
	}
}
