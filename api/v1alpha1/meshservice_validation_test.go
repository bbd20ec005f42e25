package v1alpha1

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// meshDocument is a MeshService with this spec, one field a line.
func meshDocument(spec string) []byte {
	return fmt.Appendf(nil, "apiVersion: pillion.dev/v1alpha1\nkind: MeshService\nmetadata: {name: cart, namespace: shop}\nspec:\n%s",
		"  "+strings.ReplaceAll(strings.TrimSpace(spec), "\n", "\n  "))
}

// rule is a mistake, and all that is said about it.
type rule struct{ name, spec, want string }

func testRules(t *testing.T, rules []rule) {
	t.Helper()
	for _, rule := range rules {
		t.Run(rule.name, func(t *testing.T) {
			mesh, err := DecodeMeshService(meshDocument(rule.spec))
			if err == nil || mesh != nil {
				t.Fatalf("DecodeMeshService = %v, %v; want an error alone", mesh, err)
			}
			if diff := cmp.Diff(rule.want, err.Error()); diff != "" {
				t.Errorf("problem (-want +got):\n%s", diff)
			}
		})
	}
}
