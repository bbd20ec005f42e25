package delivery

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
)

// as is a client of another user than the tests'.
func (s *system) as(t *testing.T, user string) client.Client {
	t.Helper()
	config := rest.CopyConfig(world.plane.Config)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: []string{"system:authenticated"}}
	c, err := client.New(config, client.Options{Scheme: s.client.Scheme()})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// editor may do in the namespace what the role "edit" lets one do.
func (s *system) editor(t *testing.T, name string) client.Client {
	t.Helper()
	binding := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name},
		// What "edit" is made of, by kube-controller-manager, which does not run here.
		RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "system:aggregate-to-edit"},
		Subjects: []rbacv1.Subject{{APIGroup: rbacv1.GroupName, Kind: rbacv1.UserKind, Name: name}},
	}
	if err := s.client.Create(t.Context(), binding); err != nil {
		t.Fatal(err)
	}
	return s.as(t, name)
}

// TestConfigMapsAreProtected: what programs a service's Envoys is written by the controller
// alone; whoever else may write ConfigMaps in the namespace may not write these.
func TestConfigMapsAreProtected(t *testing.T) {
	s := newSystem(t)
	s.start(t)
	s.mustApply(t, "cart", refused)
	s.rendered(t, "cart")
	s.condition(t, "cart", v1alpha1.ConditionApplied, metav1.ConditionUnknown, "NoPods")
	// Of before there was a policy, which it does not hold a cluster-admin to.
	foreign := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: v1alpha1.MeshConfigMap("foreign")}}
	if err := s.client.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	owner := s.editor(t, "owner")
	named := func(name string) *corev1.ConfigMap {
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: s.namespace, Name: name}}
	}
	isDenied := func(err error) bool {
		return apierrors.IsForbidden(err) && strings.Contains(err.Error(), "pillion-controller's alone to change; change the MeshService")
	}
	// A role and a policy are in force a moment after they were stored.
	eventually(t, "another ConfigMap may be made", func() bool { return owner.Create(t.Context(), named("settings"), client.DryRunAll) == nil })
	eventually(t, "one of a MeshService may not", func() bool {
		return isDenied(owner.Create(t.Context(), named(v1alpha1.MeshConfigMap("other")), client.DryRunAll))
	})

	changed := func(change func(*corev1.ConfigMap)) error {
		found := s.configMap(t, "cart")
		change(found)
		return owner.Update(t.Context(), found)
	}
	generated := named("")
	generated.GenerateName = "pillion-mesh-"
	for what, err := range map[string]error{
		"making one with a generated name": owner.Create(t.Context(), generated),
		"changing it":                      changed(func(c *corev1.ConfigMap) { c.Data[bootstrap.GenerationFile] = "{}" }),
		"adding to it":                     changed(func(c *corev1.ConfigMap) { c.BinaryData = map[string][]byte{"more": nil} }),
		"making it immutable":              changed(func(c *corev1.ConfigMap) { c.Immutable = new(true) }),
		"taking it from its MeshService":   changed(func(c *corev1.ConfigMap) { c.OwnerReferences = nil }),
		"hiding it from the controller":    changed(func(c *corev1.ConfigMap) { c.Labels = nil }),
		"patching it":                      owner.Patch(t.Context(), named(v1alpha1.MeshConfigMap("cart")), client.RawPatch(types.MergePatchType, []byte(`{"data": {"generation.json": "{}"}}`))),
		"deleting it":                      owner.Delete(t.Context(), named(v1alpha1.MeshConfigMap("cart"))),
		"deleting all":                     owner.DeleteAllOf(t.Context(), &corev1.ConfigMap{}, client.InNamespace(s.namespace), client.HasLabels{"pillion.dev/mesh-service"}),
		"changing what is in the way":      owner.Patch(t.Context(), named(foreign.Name), client.RawPatch(types.MergePatchType, []byte(`{"data": {"generation.json": "{}"}}`))),
	} {
		if !isDenied(err) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"storing it as it is":                         changed(func(*corev1.ConfigMap) {}),
		"annotating it":                               changed(func(c *corev1.ConfigMap) { c.Annotations = map[string]string{"backup": "yes"} }),
		"deleting what is in the way":                 owner.Delete(t.Context(), foreign),
		"deleting it as the garbage collector":        s.as(t, "system:serviceaccount:kube-system:generic-garbage-collector").Delete(t.Context(), s.configMap(t, "cart"), client.DryRunAll),
		"deleting it with its namespace":              s.as(t, "system:serviceaccount:kube-system:namespace-controller").Delete(t.Context(), s.configMap(t, "cart"), client.DryRunAll),
		"deleting the MeshService that it belongs to": s.client.Delete(t.Context(), s.service(t, "cart")),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	// By the controller.
	eventually(t, "the ConfigMap is gone", func() bool { return s.configMap(t, "cart") == nil })
	s.namespace = s.newNamespace(t, map[string]string{v1alpha1.RevisionLabel: "canary"})
	canary := s.editor(t, "canary")
	eventually(t, "another release writes in its own namespaces", func() bool {
		return canary.Create(t.Context(), named(v1alpha1.MeshConfigMap("cart"))) == nil
	})
}
