package meshservice

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/lifecycle"
)

func said(state lifecycle.MeshState, running, wanted, reason string) *answer {
	status := &lifecycle.MeshStatus{State: state, Reason: reason}
	if running != "" {
		status.Running = &lifecycle.MeshGeneration{Version: running}
	}
	if wanted != "" {
		status.Wanted = &lifecycle.MeshGeneration{Version: wanted}
	}
	return &answer{status: status}
}

func TestCount(t *testing.T) {
	const v = "v2"
	current := said(lifecycle.MeshApplied, v, v, "")
	type pods = v1alpha1.MeshServicePods
	for name, test := range map[string]struct {
		answers []*answer // of mounted pods a, b, c...
		old     int       // pods without a volume
		want    pods
		status  string
		message string
	}{
		"no pods": {nil, 0, pods{}, "Unknown NoPods", "no running pod of the service has a sidecar"},
		"all":     {[]*answer{current, current}, 0, pods{Total: 2, Current: 2}, "True AllPods", "2 of 2 pods run version v2"},
		"one runs what was before": {[]*answer{current, said(lifecycle.MeshApplied, "v1", "v1", "")}, 0, pods{Total: 2, Current: 1}, "False Underway",
			"1 of 2 pods run version v2; 1 have yet to take it"},
		"one passes through": {[]*answer{said(lifecycle.MeshPassthrough, "", "", "")}, 0, pods{Total: 1}, "False Underway", "0 of 1 pods run version v2; 1 have yet to take it"},
		"one is on the way": {[]*answer{said(lifecycle.MeshApplying, "v1", v, "waits for DNS")}, 0, pods{Total: 1}, "False Underway",
			"0 of 1 pods run version v2; 1 have yet to take it: pod a: waits for DNS"},
		"one of those on the way waits for something": {[]*answer{said(lifecycle.MeshApplied, "v1", "v1", ""), said(lifecycle.MeshApplying, "v1", v, "waits for DNS"), said(lifecycle.MeshApplying, "v1", v, "waits for Envoy")}, 0,
			pods{Total: 3}, "False Underway", "0 of 3 pods run version v2; 3 have yet to take it: pod b: waits for DNS"},
		"one runs it and waits for something newer": {[]*answer{said(lifecycle.MeshApplying, v, "v3", "waits for DNS"), said(lifecycle.MeshApplied, "v1", "v1", "")}, 0,
			pods{Total: 2, Current: 1}, "False Underway", "1 of 2 pods run version v2; 1 have yet to take it"},
		"one rejects it": {[]*answer{current, said(lifecycle.MeshRejected, "v1", v, "Envoy: no such filter"), said(lifecycle.MeshRejected, "v1", v, "another")}, 0,
			pods{Total: 3, Current: 1, Rejected: 2}, "False Rejected", "pod b rejected version v2: Envoy: no such filter; 1 of 3 pods run version v2"},
		"one runs it and rejects what somebody else gave it": {[]*answer{said(lifecycle.MeshRejected, v, "", "it was changed on the way")}, 0,
			pods{Total: 1, Rejected: 1}, "False Rejected", "pod a: it was changed on the way; 0 of 1 pods run version v2"},
		"one is silent": {[]*answer{current, {silence: "it refused the connection"}}, 0, pods{Total: 2, Current: 1, Unknown: 1}, "Unknown NoAnswer",
			"1 of 2 pods run version v2; 1 did not say: pod b: it refused the connection"},
		"two are silent": {[]*answer{{silence: "it refused the connection"}, {silence: "there is no way to it"}}, 0, pods{Total: 2, Unknown: 2}, "Unknown NoAnswer",
			"0 of 2 pods run version v2; 2 did not say: pod a: it refused the connection"},
		"one has no address": {[]*answer{current, nil}, 0, pods{Total: 2, Current: 1, Unknown: 1}, "Unknown NoAnswer",
			"1 of 2 pods run version v2; 1 did not say: pod b: it has no address yet"},
		"one was not asked yet": {[]*answer{current, {}}, 0, pods{Total: 2, Current: 1, Unknown: 1}, "Unknown NoAnswer",
			"1 of 2 pods run version v2; 1 did not say: pod b: it was not asked yet"},
		"one is of before there was a volume": {[]*answer{current}, 1, pods{Total: 2, Current: 1, Unknown: 1}, "Unknown NoAnswer",
			"1 of 2 pods run version v2; 1 were injected by an older version or configuration and cannot get it: restart them"},
	} {
		t.Run(name, func(t *testing.T) {
			answers := map[types.UID]*answer{}
			var list []pod
			for n, a := range test.answers {
				name := string(rune('a' + n))
				list = append(list, pod{types.UID(name), name, "10.0.0.1", true})
				answers[types.UID(name)] = a
			}
			for range test.old {
				list = append(list, pod{"z", "z", "10.0.0.1", false})
			}
			got := count(v, list, answers)
			if diff := cmp.Diff(test.want, got.pods); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			status, reason, message := got.condition()
			if text := string(status) + " " + reason; text != test.status || message != test.message {
				t.Errorf("the condition is %s, %q; want %s, %q", text, message, test.status, test.message)
			}
			if again := count(v, list, answers); *again != *got {
				t.Errorf("the same answers are counted as %+v and as %+v", got, again)
			}
		})
	}
}
