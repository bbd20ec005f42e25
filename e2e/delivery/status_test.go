package delivery

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/lifecycle"
)

const volume = "volumes/" + injector.MeshVolume

func running(version string, state lifecycle.MeshState, reason string) lifecycle.MeshStatus {
	g := &lifecycle.MeshGeneration{Version: version}
	return lifecycle.MeshStatus{Running: g, Wanted: g, State: state, Reason: reason}
}

// TestStatusOfPods: the status says what the pods say, and `kubectl get` shows what an Envoy
// rejected.
func TestStatusOfPods(t *testing.T) {
	s := newSystem(t)
	s.start(t)
	s.mustApply(t, "cart", refused)
	v1 := s.rendered(t, "cart").Version
	a, b := &sidecar{}, &sidecar{}
	a.say(running(v1, lifecycle.MeshApplied, ""))
	b.say(lifecycle.MeshStatus{State: lifecycle.MeshPassthrough})
	s.addPod(t, "cart", "a", "10.9.0.1", a, volume)
	s.addPod(t, "cart", "b", "10.9.0.2", b, volume)
	s.addPod(t, "another", "c", "10.9.0.3", nil, volume)
	s.says(t, "cart", v1alpha1.ConditionApplied, metav1.ConditionFalse, "Underway", "1 of 2 pods run version "+v1+"; 1 have yet to take it")
	b.say(running(v1, lifecycle.MeshApplied, ""))
	s.condition(t, "cart", v1alpha1.ConditionApplied, metav1.ConditionTrue, "AllPods")

	s.mustApply(t, "cart", passthrough)
	v2 := s.rendered(t, "cart").Version
	const words = "error adding listener '0.0.0.0:15006': unknown filter\n"
	rejected := running(v1, lifecycle.MeshRejected, "Envoy: "+words)
	rejected.Wanted = &lifecycle.MeshGeneration{Version: v2}
	a.say(running(v2, lifecycle.MeshApplied, ""))
	b.say(rejected)
	s.says(t, "cart", v1alpha1.ConditionApplied, metav1.ConditionFalse, "Rejected", "pod b rejected version "+v2+": Envoy: "+strings.TrimSpace(words)+"; 1 of 2 pods run version "+v2)
	if diff := cmp.Diff(v1alpha1.MeshServicePods{Total: 2, Current: 1, Rejected: 1}, s.service(t, "cart").Status.Pods); diff != "" {
		t.Errorf("the pods (-want +got):\n%s", diff)
	}
	printed := s.columns(t, "cart")
	if printed["Applied"] != "False" || printed["Reason"] != "Rejected" || !strings.Contains(printed["Message"].(string), "unknown filter") {
		t.Errorf("kubectl get prints %v", printed)
	}
	eventually(t, "there is an Event with Envoy's words", func() bool {
		var events eventsv1.EventList
		if err := s.client.List(t.Context(), &events, client.InNamespace(s.namespace)); err != nil {
			t.Fatal(err)
		}
		for _, e := range events.Items {
			if e.Reason == "NotApplied" && e.Regarding.Name == "cart" && strings.Contains(e.Note, "unknown filter") {
				return true
			}
		}
		return false
	})
}

// TestAppliedWithoutWhatWasAsked: with all pods on the version before, a document that is not
// valid is not said to be applied, and `kubectl get` shows why.
func TestAppliedWithoutWhatWasAsked(t *testing.T) {
	s := newSystem(t)
	s.start(t)
	s.mustApply(t, "cart", refused)
	v := s.rendered(t, "cart").Version
	a := &sidecar{}
	a.say(running(v, lifecycle.MeshApplied, ""))
	s.addPod(t, "cart", "a", "10.9.3.1", a, volume)
	s.condition(t, "cart", v1alpha1.ConditionApplied, metav1.ConditionTrue, "AllPods")
	s.mustApply(t, "cart", twice)
	applied := s.condition(t, "cart", v1alpha1.ConditionApplied, metav1.ConditionFalse, "Invalid")
	for _, want := range []string{"spec.egress[1]", "version " + v + ", stays in force", "1 of 1 pods run version " + v} {
		if !strings.Contains(applied.Message, want) {
			t.Errorf("Applied says %q, want %q in it", applied.Message, want)
		}
	}
	if printed := s.columns(t, "cart"); printed["Applied"] != "False" || printed["Reason"] != "Invalid" {
		t.Errorf("kubectl get prints %v", printed)
	}
	// Put right, it is.
	s.mustApply(t, "cart", passthrough)
	v = s.rendered(t, "cart").Version
	a.say(running(v, lifecycle.MeshApplied, ""))
	s.condition(t, "cart", v1alpha1.ConditionApplied, metav1.ConditionTrue, "AllPods")
}

// TestRejectionOfForeignContent: while another hand has the ConfigMap, pods that ran what they
// should are asked on, so what they refuse of it is seen at once.
func TestRejectionOfForeignContent(t *testing.T) {
	s := newSystem(t)
	stop := s.start(t)
	s.mustApply(t, "cart", refused)
	v := s.rendered(t, "cart").Version
	a := &sidecar{}
	a.say(running(v, lifecycle.MeshApplied, ""))
	s.addPod(t, "cart", "a", "10.9.2.1", a, volume)
	s.condition(t, "cart", v1alpha1.ConditionApplied, metav1.ConditionTrue, "AllPods")
	// Made somebody else's while no controller ran.
	stop()
	theirs := s.configMap(t, "cart")
	theirs.Labels, theirs.OwnerReferences = nil, nil
	if err := s.client.Update(t.Context(), theirs); err != nil {
		t.Fatal(err)
	}
	before := a.asked()
	s.start(t)
	s.condition(t, "cart", v1alpha1.ConditionRendered, metav1.ConditionFalse, "NameTaken")
	// The pod is given it after it was asked.
	eventually(t, "the pod was asked", func() bool { return a.asked() > before })
	rejected := running(v, lifecycle.MeshRejected, "it was changed on the way")
	rejected.Wanted = nil
	a.say(rejected)
	s.condition(t, "cart", v1alpha1.ConditionApplied, metav1.ConditionFalse, "Rejected")
}

// TestPodsThatDoNotSay: pods that cannot be asked are counted, and nobody waits for them.
func TestPodsThatDoNotSay(t *testing.T) {
	s := newSystem(t)
	s.start(t)
	s.mustApply(t, "cart", refused)
	v := s.rendered(t, "cart").Version
	well := &sidecar{}
	well.say(running(v, lifecycle.MeshApplied, ""))
	s.addPod(t, "cart", "a", "10.9.1.1", well, volume)
	s.addPod(t, "cart", "b", "10.9.1.2", nil, volume)
	s.addPod(t, "cart", "c", "169.254.169.254", nil, volume)
	s.addPod(t, "cart", "d", "10.9.1.4", well) // injected without a volume
	s.says(t, "cart", v1alpha1.ConditionApplied, metav1.ConditionUnknown, "NoAnswer",
		"1 of 4 pods run version "+v+"; 2 did not say: pod b: it refused the connection; 1 were injected by an older version or configuration and cannot get it: restart them")
	if diff := cmp.Diff(v1alpha1.MeshServicePods{Total: 4, Current: 1, Unknown: 3}, s.service(t, "cart").Status.Pods); diff != "" {
		t.Errorf("the pods (-want +got):\n%s", diff)
	}
	// It stays as it is while nothing changes.
	before := s.service(t, "cart").ResourceVersion
	s.mustApply(t, "other", refused)
	s.condition(t, "other", v1alpha1.ConditionApplied, metav1.ConditionUnknown, "NoPods")
	if after := s.service(t, "cart").ResourceVersion; after != before {
		t.Error("the status was written again, with nothing new in it")
	}
}
