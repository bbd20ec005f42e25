package v1alpha1_test

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

func TestMeshConfigMap(t *testing.T) {
	if got, want := v1alpha1.MeshConfigMap("checkout"), "pillion-mesh-checkout"; got != want {
		t.Errorf("the ConfigMap of checkout is %q, want %q", got, want)
	}
	for _, none := range []string{"", "Shop", "shop/checkout", "a_b", "-a", "a-", "a..b", ".a", "a.", strings.Repeat("a", v1alpha1.LongestMeshService+1)} {
		if got := v1alpha1.MeshConfigMap(none); got != "" {
			t.Errorf("the ConfigMap of %q is %q, want none: no MeshService can be named so", none, got)
		}
	}
}

// FuzzMeshConfigMap holds the names together with Kubernetes' own rule for them.
func FuzzMeshConfigMap(f *testing.F) {
	for _, name := range []string{"checkout", "a.b", "a-b.c", "0", "A", "a/b", "a..b", "-", "é", "a\n", strings.Repeat("a", 240), strings.Repeat("a.", 119) + "ab"} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, service string) {
		valid := len(validation.IsDNS1123Subdomain(service)) == 0 && len(service) <= v1alpha1.LongestMeshService
		got := v1alpha1.MeshConfigMap(service)
		if valid != (got != "") {
			t.Errorf("the ConfigMap of %q is %q, and Kubernetes takes the name: %t", service, got, valid)
		}
		if got != "" && len(validation.IsDNS1123Subdomain(got)) > 0 {
			t.Errorf("the ConfigMap of %q is %q, which is no object's name", service, got)
		}
	})
}
