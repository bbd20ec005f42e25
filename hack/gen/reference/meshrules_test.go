package reference

import (
	"strings"
	"testing"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// TestRulesAreHeld: what the reference says is refused is, and for that reason alone.
func TestRulesAreHeld(t *testing.T) {
	for _, rule := range meshRules() {
		t.Run(rule.says, func(t *testing.T) {
			document := "apiVersion: pillion.dev/v1alpha1\nkind: MeshService\nmetadata: {name: checkout, namespace: shop}\nspec: {" + rule.refused + "}\n"
			_, err := v1alpha1.DecodeMeshService([]byte(document))
			if err == nil || !strings.Contains(err.Error(), rule.because) {
				t.Errorf("%s: %v, want %q in it", rule.refused, err, rule.because)
			}
		})
	}
}
