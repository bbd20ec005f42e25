package e2e

import (
	"bytes"
	"os"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/pillion-mesh/pillion/injector"
)

// auditEvent is the part of a line in kube-apiserver's audit log that is looked at.
type auditEvent struct {
	ObjectRef   struct{ Namespace, Name string }
	Annotations map[string]string
}

// TestAuditLogSaysWhy: the reason of each decision is in kube-apiserver's audit log,
// under the name of the entry that was asked, and so is a converging second call's.
func TestAuditLogSaysWhy(t *testing.T) {
	install(t, nil)
	installOther(t, "z-other", otherPatch)
	for entry, labels := range map[string]map[string]string{"inject.pillion.dev": nil, "strict.inject.pillion.dev": {strictLabel: "true"}} {
		w := newTwins(t, labels)
		typo := appPod("typo")
		typo.Labels[optInLabel] = "True"
		for _, c := range []struct {
			pod              *corev1.Pod
			decision, reason string
		}{
			{appPod("injected"), "inject", injector.ReasonInjected.String()},
			{typo, "skip", injector.ReasonLabelValue.String()},
			{podWith("pillion.dev/log-level", "loud"), "refuse", injector.ReasonAnnotationValue.String()},
		} {
			_, _ = w.createIn(t, w.meshed, c.pod) // one is refused
			got := auditOf(t, w.meshed, c.pod.Name)
			if got[entry+"/decision"] != c.decision || got[entry+"/reason"] != c.reason {
				t.Errorf("the audit log says of %s: %v", c.pod.Name, got)
			}
		}
	}
	w := newTwins(t, map[string]string{"other": "z-other"})
	pod := appPod("again")
	pod.Spec.InitContainers, pod.Spec.Volumes = []corev1.Container{{Name: "i", Image: "i"}}, []corev1.Volume{{Name: "v"}}
	pod.Annotations = map[string]string{"example.com/note": "n"}
	eventually(t, "kube-apiserver calls the other webhook", func() bool {
		plain, err := w.createIn(t, w.plain, pod)
		return err == nil && plain.Annotations[otherDone] == "yes"
	})
	w.create(t, pod)
	got := auditOf(t, w.meshed, "again")
	if got["inject.pillion.dev/reason"] != injector.ReasonInjected.String() || got["inject.pillion.dev/again-reason"] != injector.ReasonConverged.String() {
		t.Errorf("the audit log says of a pod that another webhook changed: %v", got)
	}
}

// auditOf waits for the line about the creation of a pod: it may be written a moment
// after the answer.
func auditOf(t *testing.T, namespace, name string) map[string]string {
	t.Helper()
	var event auditEvent
	eventually(t, "the audit log has the pod", func() bool {
		log, err := os.ReadFile(world.auditLog)
		if err != nil {
			t.Fatal(err)
		}
		for line := range bytes.Lines(log) {
			if bytes.HasSuffix(line, []byte("\n")) && bytes.Contains(line, []byte(namespace)) {
				event = auditEvent{}
				if decode(t, line, &event); event.ObjectRef.Namespace == namespace && event.ObjectRef.Name == name {
					return true
				}
			}
		}
		return false
	})
	return event.Annotations
}

// TestWarningsReachTheClient: what an owner is warned of comes with the answer to
// their request, the most useful first, and all of it where it is much.
func TestWarningsReachTheClient(t *testing.T) {
	install(t, nil)
	w := newTwins(t, nil)
	pod := podWith("pillion.dev/log-levle", "info")
	pod.Annotations["pillion.dev/memory-limit"], pod.Annotations["pillion.dev/mode"] = "64Mi", "classic"
	pod.Spec.RestartPolicy = corev1.RestartPolicyOnFailure
	pod.Spec.Containers[0].Ports = append(pod.Spec.Containers[0].Ports, corev1.ContainerPort{ContainerPort: 53, Protocol: corev1.ProtocolUDP})
	w.create(t, pod)
	var codes []string
	for _, text := range w.warned.texts {
		code, _, _ := strings.Cut(text, ":")
		codes = append(codes, code)
	}
	want := []string{injector.ReasonUnknownAnnotation.Code, injector.ReasonClassicJob.Code, injector.ReasonResourcesAdjusted.Code, injector.ReasonUDPPort.Code}
	if !slices.Equal(codes, want) {
		t.Errorf("the warnings are %q, want %q", w.warned.texts, want)
	}
	if len(w.warned.texts) > 0 && !strings.Contains(w.warned.texts[0], "did you mean pillion.dev/log-level?") {
		t.Errorf("the first warning makes no suggestion: %q", w.warned.texts[0])
	}

	for i := range 100 {
		pod.Annotations["pillion.dev/x"+strings.Repeat("y", i%50)+string(rune('a'+i/50))] = "\u202e"
	}
	w.create(t, pod)
	if all := strings.Join(w.warned.texts, ""); len([]rune(all)) > 4096 || sets.New(w.warned.texts...).Len() != len(w.warned.texts) || !strings.Contains(all, "more; `pillionctl why` shows all") {
		t.Errorf("%d warnings of %d characters: %q", len(w.warned.texts), len(all), w.warned.texts)
	}
}
