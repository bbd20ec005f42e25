package auditor

import (
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pillion-mesh/pillion/injector"
)

// replicas is a group of a ReplicaSet with these pods flawed, and so many injected.
func replicas(name string, injected int, flawedPods ...string) *group {
	g := &group{namespace: "shop", controller: metav1.OwnerReference{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: name, UID: types.UID(name)}, injected: injected}
	for _, pod := range flawedPods {
		g.flawed = append(g.flawed, flawed{name: pod, uid: types.UID(pod), state: injector.Missed})
	}
	return g
}

// step is a pass: what is found, what is evicted of it, and who is left alone.
type step struct {
	found     []*group
	want      []string
	leftAlone []string
}

// TestTrials: which pods are evicted in pass after pass, where every eviction succeeds.
func TestTrials(t *testing.T) {
	quiet := func(passes int, found ...*group) []step { return slices.Repeat([]step{{found: found}}, passes) }
	for name, steps := range map[string][]step{
		"one, then one of each, then all": {
			{found: []*group{replicas("a", 0, "a1", "a2", "a3"), replicas("b", 0, "b1", "b2")}, want: []string{"a1"}},
			{found: []*group{replicas("a", 1, "a2", "a3"), replicas("b", 0, "b1", "b2")}, want: []string{"a2", "a3", "b1"}},
			{found: []*group{replicas("a", 3), replicas("b", 1, "b2")}, want: []string{"b2"}},
		},
		"the first one is not back yet": {
			{found: []*group{replicas("a", 0, "a1", "a2"), replicas("b", 0, "b1")}, want: []string{"a1"}},
			{found: []*group{replicas("a", 0, "a2"), replicas("b", 0, "b1")}},
			{found: []*group{replicas("a", 1, "a2"), replicas("b", 0, "b1")}, want: []string{"a2", "b1"}},
		},
		"a workload of a single pod shows it as well": {
			{found: []*group{replicas("a", 0, "a1"), replicas("b", 0, "b1", "b2")}, want: []string{"a1"}},
			{found: []*group{replicas("a", 1), replicas("b", 0, "b1", "b2")}, want: []string{"b1"}},
		},
		"the next pod is flawed as well": {
			{found: []*group{replicas("a", 0, "a1", "a2"), replicas("b", 0, "b1", "b2")}, want: []string{"a1"}},
			{found: []*group{replicas("a", 0, "a2", "a3"), replicas("b", 0, "b1", "b2")}, want: []string{"b1"}, leftAlone: []string{"a"}},
			{found: []*group{replicas("a", 0, "a2", "a3"), replicas("b", 0, "b2", "b3")}, leftAlone: []string{"b"}},
			{found: []*group{replicas("a", 0, "a2", "a3"), replicas("b", 0, "b2", "b3")}},
		},
		"what was trusted fails, and is tried with a single pod": {
			{found: []*group{replicas("a", 0, "a1", "a2"), replicas("b", 0, "b1", "b2", "b3")}, want: []string{"a1"}},
			{found: []*group{replicas("a", 1, "a2"), replicas("b", 0, "b1", "b2", "b3")}, want: []string{"a2", "b1"}},
			{found: []*group{replicas("a", 1, "a3"), replicas("b", 1, "b2", "b3")}, want: []string{"b2"}, leftAlone: []string{"a"}},
			{found: []*group{replicas("a", 1, "a3"), replicas("b", 1, "b3")}},
		},
		"left alone until all is well": {
			{found: []*group{replicas("a", 0, "a1")}, want: []string{"a1"}},
			{found: []*group{replicas("a", 0, "a2")}, leftAlone: []string{"a"}},
			{found: []*group{replicas("a", 1)}},
			{found: []*group{replicas("a", 1, "a4")}, want: []string{"a4"}},
		},
		"nothing comes back": slices.Concat(
			[]step{{found: []*group{replicas("a", 0, "a1", "a2")}, want: []string{"a1"}}},
			quiet(mostPasses-1, replicas("a", 0, "a2")),
			[]step{{found: []*group{replicas("a", 0, "a2"), replicas("b", 0, "b1")}, want: []string{"b1"}, leftAlone: []string{"a"}}},
		),
	} {
		t.Run(name, func(t *testing.T) {
			trials := newTrials()
			for n, step := range steps {
				f := &findings{groups: step.found}
				var given, evicted []string
				for _, g := range trials.learn(f) {
					given = append(given, g.controller.Name)
				}
				for _, c := range trials.candidates(f) {
					evicted = append(evicted, c.pod.name)
					trials.evicted(c)
				}
				if diff := cmp.Diff(step.want, evicted); diff != "" {
					t.Errorf("pass %d evicts (-want +got):\n%s", n, diff)
				}
				if diff := cmp.Diff(step.leftAlone, given); diff != "" {
					t.Errorf("pass %d leaves alone (-want +got):\n%s", n, diff)
				}
			}
		})
	}
}

// TestEvictable: only what something makes anew, without losing work.
func TestEvictable(t *testing.T) {
	for _, c := range []struct {
		apiVersion, kind string
		want             bool
	}{
		{"apps/v1", "ReplicaSet", true}, {"apps/v1", "StatefulSet", true}, {"apps/v1", "DaemonSet", true},
		{"batch/v1", "Job", false}, {"apps.kruise.io/v1", "StatefulSet", false}, {"v1", "ReplicationController", false}, {"", "", false},
	} {
		g := &group{controller: metav1.OwnerReference{APIVersion: c.apiVersion, Kind: c.kind}}
		if got := g.evictable(); got != c.want {
			t.Errorf("%s %s: %t", c.apiVersion, c.kind, got)
		}
	}
}
