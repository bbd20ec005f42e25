package delivery

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// doNotGo is said of ConfigMaps that somebody holds.
const doNotGo = "ConfigMaps of MeshServices that were deleted do not go"

// TestConfigMapsThatDoNotGo: with the definition gone and ConfigMaps that cannot go, it is said
// which, and that the definition is gone, and all works again when it is back.
func TestConfigMapsThatDoNotGo(t *testing.T) {
	const held = 7
	s := newSystem(t)
	s.leftoverPatience = time.Second
	for n := range held {
		s.mustApply(t, fmt.Sprintf("stays-%d", n), refused)
	}
	s.start(t)
	for n := range held {
		s.rendered(t, fmt.Sprintf("stays-%d", n))
		s.hold(t, fmt.Sprintf("stays-%d", n))
	}

	s.deleteDefinition(t)
	eventually(t, "it is said that the kind is gone", func() bool { return s.log.count(unknownAgain) > 0 })
	names := make([]string, 5)
	for n := range names {
		names[n] = s.namespace + "/" + v1alpha1.MeshConfigMap(fmt.Sprintf("stays-%d", n))
	}
	if says := fmt.Sprintf("count=%d first=%q", held, strings.Join(names, ", ")); s.log.count(doNotGo) != 1 || s.log.count(says) != 1 {
		t.Errorf("it was said %d times that ConfigMaps do not go, and %d times %s; want once", s.log.count(doNotGo), s.log.count(says), says)
	}

	s.install(t)
	s.mustApply(t, "comes", refused)
	s.rendered(t, "comes")
}

// hold gives a service's ConfigMap a finalizer, which ends with the test.
func (s *system) hold(t *testing.T, service string) {
	t.Helper()
	patch := func(ctx context.Context, finalizers string) error {
		c := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: v1alpha1.MeshConfigMap(service)}}
		return s.client.Patch(ctx, c, client.RawPatch(types.MergePatchType, []byte(`{"metadata":{"finalizers":`+finalizers+`}}`)))
	}
	t.Cleanup(func() {
		if err := patch(context.WithoutCancel(t.Context()), "null"); err != nil {
			t.Error(err)
		}
	})
	if err := patch(t.Context(), `["example.com/backup"]`); err != nil {
		t.Fatal(err)
	}
}
