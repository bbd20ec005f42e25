package delivery

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// TestFiveHundred: five hundred MeshServices are brought to their ConfigMaps, and a controller
// that starts again writes nothing.
func TestFiveHundred(t *testing.T) {
	const services = 500
	s := newSystem(t)
	for n := range services {
		s.mustApply(t, fmt.Sprintf("service-%d", n), fmt.Sprintf(`{"inbound":[{"port":%d,"maxConcurrentRequests":10}]}`, 1000+n))
	}
	well := &sidecar{}
	s.addPod(t, "service-0", "a", "10.9.2.1", well, volume)
	started := time.Now()
	stop := s.start(t)
	all := func() map[string]string {
		versions := map[string]string{}
		var configMaps corev1.ConfigMapList
		var documents v1alpha1.MeshServiceList
		if err := s.client.List(t.Context(), &configMaps, client.InNamespace(s.namespace), client.HasLabels{"pillion.dev/mesh-service"}); err != nil {
			t.Fatal(err)
		}
		if err := s.client.List(t.Context(), &documents, client.InNamespace(s.namespace)); err != nil {
			t.Fatal(err)
		}
		for _, c := range configMaps.Items {
			versions["configmap "+c.Name] = c.ResourceVersion
		}
		for _, d := range documents.Items {
			if len(d.Status.Conditions) == 3 && d.Status.ObservedGeneration == d.Generation {
				versions["status "+d.Name] = d.ResourceVersion
			}
		}
		return versions
	}
	eventually(t, "all of them are there", func() bool { return len(all()) == 2*services })
	t.Logf("%d MeshServices took %s", services, time.Since(started))
	well.say(running(s.rendered(t, "service-0").Version, lifecycle.MeshApplied, ""))
	s.condition(t, "service-0", v1alpha1.ConditionApplied, metav1.ConditionTrue, "AllPods")
	// The last status is that the pods were asked.
	eventually(t, "all were counted", func() bool {
		var documents v1alpha1.MeshServiceList
		if err := s.client.List(t.Context(), &documents, client.InNamespace(s.namespace)); err != nil {
			t.Fatal(err)
		}
		for _, d := range documents.Items {
			for _, c := range d.Status.Conditions {
				if c.Reason == "NotAskedYet" {
					return false
				}
			}
		}
		return true
	})
	stop()
	before := all()
	s.start(t)
	// A document that comes last shows that the controller has been through the others.
	s.mustApply(t, "zz-last", refused)
	s.condition(t, "zz-last", v1alpha1.ConditionApplied, metav1.ConditionUnknown, "NoPods")
	after := all()
	delete(after, "configmap "+v1alpha1.MeshConfigMap("zz-last"))
	delete(after, "status zz-last")
	if diff := cmp.Diff(before, after); diff != "" {
		t.Errorf("a controller that started again wrote (-before +after):\n%s", diff)
	}
}

// TestOtherRevision: the MeshServices of another release's namespaces are left to it.
func TestOtherRevision(t *testing.T) {
	s := newSystem(t)
	own := s.namespace
	s.namespace = s.newNamespace(t, map[string]string{v1alpha1.RevisionLabel: "canary"})
	s.mustApply(t, "theirs", refused)
	s.start(t)
	theirs := s.namespace
	s.namespace = own
	s.mustApply(t, "ours", refused)
	s.rendered(t, "ours")
	s.namespace = theirs
	// Both come by one watch and one queue: when one has been seen to that comes after a change
	// of theirs, that has been passed by.
	s.mustApply(t, "theirs", passthrough)
	s.namespace = own
	s.mustApply(t, "fence", refused)
	s.condition(t, "fence", v1alpha1.ConditionApplied, metav1.ConditionUnknown, "NoPods")
	s.namespace = theirs
	if c, d := s.configMap(t, "theirs"), s.service(t, "theirs"); c != nil || len(d.Status.Conditions) > 0 {
		t.Errorf("a MeshService of another revision was seen to: %+v, %+v", c, d.Status)
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: theirs}}
	if err := s.client.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace); err != nil {
		t.Fatal(err)
	}
	delete(namespace.Labels, v1alpha1.RevisionLabel)
	if err := s.client.Update(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	s.rendered(t, "theirs")
}
