package injector_test

import (
	"testing"

	"github.com/pillion-mesh/pillion/injector"
)

func TestMakeAnew(t *testing.T) {
	t.Parallel()
	for _, c := range []struct{ kind, want string }{
		{"", "create it again"},
		{"Deployment", "kubectl -n shop rollout restart deployment/web"},
		{"statefulset", "kubectl -n shop rollout restart statefulset/web"},
		{"Job", "kubectl -n shop delete pod web-1"},
		{"Rollout", "kubectl -n shop delete pod web-1"},
	} {
		if got := injector.MakeAnew("shop", c.kind, "web", "web-1"); got != c.want {
			t.Errorf("of a %q: %q, want %q", c.kind, got, c.want)
		}
	}
}
