package injector_test

import (
	"encoding/json"
	"testing"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
)

// A CronJob's pods belong to one service, whichever run made them.
func TestCronJobIsOneService(t *testing.T) {
	of, err := injector.New(v1alpha1.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ kind, owner, want string }{
		{"Job", "report-29742960", "report"}, {"Job", "report-29742961", "report"}, {"Job", "a-b-68374080", "a-b"},
		{"Job", "report", "report"}, {"Job", "migrate-20261123", "migrate-20261123"}, {"Job", "migrate-7", "migrate-7"},
		{"Job", "report-029742960", "report-029742960"}, {"Job", "report-99999999", "report-99999999"}, {"Job", "29742960", "29742960"},
		{"StatefulSet", "report-29742960", "report-29742960"},
	} {
		pod := map[string]any{
			"metadata": map[string]any{
				"name": "x", "labels": map[string]any{"service-mesh-enabled": "true"},
				"ownerReferences": []any{map[string]any{"kind": test.kind, "name": test.owner, "controller": true}},
			},
			"spec": map[string]any{"restartPolicy": "Never", "containers": []any{map[string]any{"name": "a", "image": "a"}}},
		}
		raw, err := json.Marshal(pod)
		if err != nil {
			t.Fatal(err)
		}
		decoded, err := injector.DecodePod(raw)
		if err != nil {
			t.Fatal(err)
		}
		result := of.Inject(injector.Request{Pod: decoded, Namespace: injector.Namespace{Name: "default"}, Now: now})
		if result.Sidecar == nil || result.Sidecar.Run.Service != test.want {
			t.Errorf("%s %s: service %+v, want %q", test.kind, test.owner, result.Sidecar, test.want)
		}
	}
}
