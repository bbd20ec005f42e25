package delivery

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
)

// TestContestedConfigMap: with another hand that changes or deletes the ConfigMap again and again,
// nobody writes as fast as that hand does; once it leaves the ConfigMap alone, it is put right.
func TestContestedConfigMap(t *testing.T) {
	s := newSystem(t)
	s.start(t)
	const theirs = "theirs"
	change := func(c *corev1.ConfigMap) error {
		c.Data = map[string]string{bootstrap.GenerationFile: theirs}
		return s.client.Update(t.Context(), c)
	}
	remove := func(c *corev1.ConfigMap) error { return s.client.Delete(t.Context(), c) }
	t.Run("changes", func(t *testing.T) {
		t.Parallel()
		s.contested(t, "cart", change, "another hand keeps changing ConfigMap pillion-mesh-cart", "stays in force")
	})
	t.Run("deletions", func(t *testing.T) {
		t.Parallel()
		s.contested(t, "search", remove, "another hand keeps deleting ConfigMap pillion-mesh-search", "pods pass their traffic through while it is not there")
	})
}

// contested has another hand do something to a ConfigMap whenever it is right.
func (s *system) contested(t *testing.T, service string, disturb func(*corev1.ConfigMap) error, says ...string) {
	t.Helper()
	s.mustApply(t, service, refused)
	want := s.rendered(t, service).Version
	isRight := func() (*corev1.ConfigMap, bool) {
		c := s.configMap(t, service)
		g := generation(c)
		return c, g != nil && g.Version == want
	}
	var found metav1.Condition
	edits, began := 0, time.Now()
	eventually(t, "it is said that another hand is at work", func() bool {
		if c, right := isRight(); right {
			if err := disturb(c); err != nil {
				t.Fatal(err)
			}
			edits++
		}
		if c := meta.FindStatusCondition(s.service(t, service).Status.Conditions, v1alpha1.ConditionRendered); c != nil {
			found = *c
		}
		// So that one that nothing bounds ends, too.
		return found.Reason == "Contested" || edits > 20
	})
	for _, says := range says {
		if found.Status != metav1.ConditionFalse || !strings.Contains(found.Message, says) {
			t.Errorf("Rendered is %s: %q, want %q in it", found.Status, found.Message, says)
		}
	}
	// The first edit, and one for each time that it was put right: five times at once, and
	// once more every half a minute.
	if most := 6 + int(time.Since(began)/(30*time.Second)); edits < 6 || edits > most {
		t.Errorf("it was put right %d times, want 5 to %d", edits-1, most-1)
	}
	eventually(t, "it is put right", func() bool { _, right := isRight(); return right })
	s.condition(t, service, v1alpha1.ConditionRendered, metav1.ConditionTrue, "Stored")
}

// TestConfigMapThatCannotBeWritten: the status says what kube-apiserver said, what the pods had
// before stays, and nobody has to tell the controller that the obstacle is gone.
func TestConfigMapThatCannotBeWritten(t *testing.T) {
	s := newSystem(t)
	s.start(t)
	s.mustApply(t, "cart", refused)
	before := s.rendered(t, "cart").Version
	s.condition(t, "cart", v1alpha1.ConditionRendered, metav1.ConditionTrue, "Stored")
	immutable, yes := s.configMap(t, "cart"), true
	immutable.Immutable = &yes
	if err := s.client.Update(t.Context(), immutable); err != nil {
		t.Fatal(err)
	}
	s.mustApply(t, "cart", passthrough)
	failed := s.condition(t, "cart", v1alpha1.ConditionRendered, metav1.ConditionFalse, "StoreFailed")
	for _, want := range []string{"updating ConfigMap ", "pillion-mesh-cart", "immutable", "version " + before + ", stays in force"} {
		if !strings.Contains(failed.Message, want) {
			t.Errorf("Rendered says %q, want %q in it", failed.Message, want)
		}
	}
	if g := generation(s.configMap(t, "cart")); g == nil || g.Version != before || s.service(t, "cart").Status.Version != before {
		t.Errorf("the ConfigMap has %+v, and the status says version %s; %s was stored last", g, s.service(t, "cart").Status.Version, before)
	}
	if err := s.client.Delete(t.Context(), immutable); err != nil {
		t.Fatal(err)
	}
	s.rendered(t, "cart")
	s.condition(t, "cart", v1alpha1.ConditionRendered, metav1.ConditionTrue, "Stored")
}
