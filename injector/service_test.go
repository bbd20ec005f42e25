package injector_test

import (
	"encoding/json"
	"testing"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
)

// TestServiceFromOwner: without a service label, the pods of a workload belong to one
// service, whichever run or revision made them. pillionctl, which sees the workload
// itself, says the same.
func TestServiceFromOwner(t *testing.T) {
	const hash, rollout = "pod-template-hash", "rollouts-pod-template-hash"
	for _, test := range []struct{ kind, owner, label, value, want string }{
		// Of a CronJob.
		{"Job", "report-29742960", "", "", "report"},
		{"Job", "report-29742961", "", "", "report"},
		{"Job", "a-b-68374080", "", "", "a-b"},
		{"CronJob", "report", "", "", "report"},
		// By hand.
		{"Job", "report", "", "", "report"},
		{"Job", "migrate-20261123", "", "", "migrate-20261123"},
		{"Job", "migrate-7", "", "", "migrate-7"},
		{"Job", "report-029742960", "", "", "report-029742960"},
		{"Job", "report-99999999", "", "", "report-99999999"},
		{"Job", "29742960", "", "", "29742960"},
		{"Job", "-29742960", "", "", "unknown"},
		{"StatefulSet", "report-29742960", "", "", "report-29742960"},
		// Of a Deployment and an Argo Rollout.
		{"ReplicaSet", "web-6d5f8c7b9d", hash, "6d5f8c7b9d", "web"},
		{"ReplicaSet", "web-7c9", rollout, "7c9", "web"},
		{"Deployment", "web", "", "", "web"},
		{"ReplicaSet", "web-6d5f8c7b9d", "", "", "web-6d5f8c7b9d"},
		{"ReplicaSet", "web-7c9", hash, "c9", "web-7c9"},
	} {
		labels := map[string]any{"service-mesh-enabled": "true"}
		if test.label != "" {
			labels[test.label] = test.value
		}
		if got := serviceOfOwned(t, test.kind, test.owner, labels); got != test.want {
			t.Errorf("%s %s %v: service %q, want %q", test.kind, test.owner, labels, got, test.want)
		}
	}
}

// TestServiceLabelComesFirst: what an owner said is not guessed.
func TestServiceLabelComesFirst(t *testing.T) {
	labels := map[string]any{"service-mesh-enabled": "true", "app": "numbers"}
	if got := serviceOfOwned(t, "Job", "report-29742960", labels); got != "numbers" {
		t.Errorf("service %q", got)
	}
}

// serviceOfOwned is the service of a pod that a controller made.
func serviceOfOwned(t *testing.T, kind, owner string, labels map[string]any) string {
	t.Helper()
	of, err := injector.New(v1alpha1.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	raw, err := json.Marshal(map[string]any{
		"metadata": map[string]any{
			"name": "x", "labels": labels,
			"ownerReferences": []any{
				map[string]any{"kind": "Node", "name": "not-the-controller"},
				map[string]any{"kind": kind, "name": owner, "controller": true},
			},
		},
		"spec": map[string]any{"restartPolicy": "Never", "containers": []any{map[string]any{"name": "a", "image": "a"}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	pod, err := injector.DecodePod(raw)
	if err != nil {
		t.Fatal(err)
	}
	result := of.Inject(injector.Request{Pod: pod, Namespace: injector.Namespace{Name: "default"}, Now: now})
	if result.Sidecar == nil {
		t.Fatalf("%s %s: %+v", kind, owner, result.Decision)
	}
	return result.Sidecar.Run.Service
}
