package delivery

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
)

const (
	refused     = `{"undeclaredEgress":"Refused"}`
	passthrough = `{"undeclaredEgress":"Passthrough","inbound":[{"port":8080,"timeout":"2s"}]}`
	// twice is valid to the schema, and not as a whole.
	twice = `{"egress":[{"name":"a","host":"api.example.com","port":80},{"name":"b","host":"api.example.com","port":80}]}`
)

// TestApplyChangeDelete: a MeshService becomes a ConfigMap, a change another one, a document
// that is not valid leaves the last one in force, and a deletion takes it away.
func TestApplyChangeDelete(t *testing.T) {
	s := newSystem(t)
	s.start(t)
	s.mustApply(t, "checkout", refused)
	first := s.rendered(t, "checkout")
	if first.Service != "checkout" || first.Namespace != s.namespace || first.Outbound.RefuseUndeclared == "" {
		t.Errorf("the generation is %+v", first)
	}
	stored := s.condition(t, "checkout", v1alpha1.ConditionRendered, metav1.ConditionTrue, "Stored")
	if !strings.Contains(stored.Message, first.Version) || s.service(t, "checkout").Status.Version != first.Version {
		t.Errorf("version %s is stored, and the status says %q", first.Version, stored.Message)
	}
	s.condition(t, "checkout", v1alpha1.ConditionApplied, metav1.ConditionUnknown, "NoPods")
	owner := s.configMap(t, "checkout").OwnerReferences
	if len(owner) != 1 || owner[0].UID != s.service(t, "checkout").UID || owner[0].BlockOwnerDeletion != nil {
		t.Errorf("the ConfigMap's owners are %+v", owner)
	}

	s.mustApply(t, "checkout", passthrough)
	second := s.rendered(t, "checkout")
	if second.Version == first.Version || !first.OlderThan(second) || len(second.Inbound) != 1 {
		t.Errorf("after the change the generation is %+v", second)
	}

	s.mustApply(t, "checkout", twice)
	accepted := s.condition(t, "checkout", v1alpha1.ConditionAccepted, metav1.ConditionFalse, "Invalid")
	if !strings.Contains(accepted.Message, "spec.egress[1]") || !strings.Contains(accepted.Message, "spec.egress[0]") {
		t.Errorf("both places are to be named: %q", accepted.Message)
	}
	kept := s.condition(t, "checkout", v1alpha1.ConditionRendered, metav1.ConditionFalse, "Invalid")
	if !strings.Contains(kept.Message, "version "+second.Version+", stays in force") {
		t.Errorf("Rendered says %q", kept.Message)
	}
	if g := generation(s.configMap(t, "checkout")); g == nil || g.Version != second.Version {
		t.Errorf("the ConfigMap has %+v, and %s was the last valid one", g, second.Version)
	}

	s.mustApply(t, "checkout", refused)
	s.rendered(t, "checkout")
	s.condition(t, "checkout", v1alpha1.ConditionAccepted, metav1.ConditionTrue, "Valid")
	if err := s.client.Delete(t.Context(), s.service(t, "checkout")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the ConfigMap is gone", func() bool { return s.configMap(t, "checkout") == nil })
}

// TestDeletedWhileNobodyRan: what was deleted while no controller ran is cleaned up.
func TestDeletedWhileNobodyRan(t *testing.T) {
	s := newSystem(t)
	stop := s.start(t)
	s.mustApply(t, "checkout", refused)
	s.rendered(t, "checkout")
	stop()
	if err := s.client.Delete(t.Context(), s.service(t, "checkout")); err != nil {
		t.Fatal(err)
	}
	s.start(t)
	eventually(t, "the ConfigMap is gone", func() bool { return s.configMap(t, "checkout") == nil })
}

// TestForeignConfigMap: one of our name that somebody else made is never touched.
func TestForeignConfigMap(t *testing.T) {
	s := newSystem(t)
	foreign := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: v1alpha1.MeshConfigMap("cart"), Labels: map[string]string{"app": "cart"}},
		Data:       map[string]string{bootstrap.GenerationFile: "theirs"},
	}
	if err := s.client.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	s.start(t)
	s.mustApply(t, "cart", refused)
	taken := s.condition(t, "cart", v1alpha1.ConditionRendered, metav1.ConditionFalse, "NameTaken")
	if !strings.Contains(taken.Message, "ConfigMap pillion-mesh-cart is there and not Pillion's") || !strings.Contains(taken.Message, "rename or delete it") {
		t.Errorf("Rendered says %q", taken.Message)
	}
	if found := s.configMap(t, "cart"); found.ResourceVersion != foreign.ResourceVersion {
		t.Errorf("the ConfigMap was changed: %+v", found)
	}
	if err := s.client.Delete(t.Context(), s.service(t, "cart")); err != nil {
		t.Fatal(err)
	}
	// Another one that comes and goes shows that the controller has seen to the deletion.
	s.mustApply(t, "other", refused)
	s.rendered(t, "other")
	if err := s.client.Delete(t.Context(), s.service(t, "other")); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the other's ConfigMap is gone", func() bool { return s.configMap(t, "other") == nil })
	if found := s.configMap(t, "cart"); found == nil || found.ResourceVersion != foreign.ResourceVersion {
		t.Errorf("after the deletion the ConfigMap is %+v", found)
	}
}

// TestEditedConfigMap: what somebody does to ours is put right.
func TestEditedConfigMap(t *testing.T) {
	s := newSystem(t)
	s.start(t)
	s.mustApply(t, "cart", refused)
	want := s.rendered(t, "cart")
	for _, edit := range []struct {
		name string
		do   func(*corev1.ConfigMap) error
	}{
		{"content", func(c *corev1.ConfigMap) error {
			c.Data[bootstrap.GenerationFile] = `{"service":"cart"}`
			return s.client.Update(t.Context(), c)
		}},
		{"another key", func(c *corev1.ConfigMap) error {
			c.Data["more"] = "x"
			return s.client.Update(t.Context(), c)
		}},
		{"labels", func(c *corev1.ConfigMap) error {
			c.Labels = nil
			return s.client.Update(t.Context(), c)
		}},
		{"deletion", func(c *corev1.ConfigMap) error { return s.client.Delete(t.Context(), c) }},
	} {
		// What follows starts from what was put right.
		if !t.Run(edit.name, func(t *testing.T) {
			before := s.configMap(t, "cart")
			if err := edit.do(before); err != nil {
				t.Fatal(err)
			}
			eventually(t, "it is as it was", func() bool {
				found := s.configMap(t, "cart")
				g := generation(found)
				return g != nil && g.Version == want.Version && len(found.Data) == 1 && found.Labels["app.kubernetes.io/managed-by"] == "pillion-controller" && len(found.OwnerReferences) == 1
			})
		}) {
			return
		}
	}
	t.Run("an annotation of another tool stays", func(t *testing.T) {
		found := s.configMap(t, "cart")
		found.Annotations = map[string]string{"backup": "yes"}
		if err := s.client.Update(t.Context(), found); err != nil {
			t.Fatal(err)
		}
		s.mustApply(t, "cart", passthrough)
		s.rendered(t, "cart")
		if s.configMap(t, "cart").Annotations["backup"] != "yes" {
			t.Error("it was taken away")
		}
	})
}

// TestNoOtherConfigMap: the controller's role allows it to change any ConfigMap, since a role
// cannot say which names; the chart's policy does.
func TestNoOtherConfigMap(t *testing.T) {
	s := newSystem(t)
	c, err := client.New(s.config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	config := func(name string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	}
	if err := s.client.Create(t.Context(), config("settings")); err != nil {
		t.Fatal(err)
	}
	// A policy is in force a moment after it was stored.
	eventually(t, "making another ConfigMap is refused", func() bool {
		err := c.Create(t.Context(), config("another"), client.DryRunAll)
		return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "pillion-controller changes no ConfigMap but those named pillion-mesh-SERVICE")
	})
	changed := config("settings")
	changed.Data = map[string]string{"a": "b"}
	if err := c.Update(t.Context(), changed); !apierrors.IsForbidden(err) {
		t.Errorf("changing another ConfigMap: %v", err)
	}
	if err := c.Delete(t.Context(), config("settings")); !apierrors.IsForbidden(err) {
		t.Errorf("deleting another ConfigMap: %v", err)
	}
	if err := c.Create(t.Context(), config(v1alpha1.MeshConfigMap("a"))); err != nil {
		t.Errorf("making one of a MeshService: %v", err)
	}
}
