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

// starting has one more pod, with its sidecar and not Ready.
func starting(g *group) *group {
	g.injected, g.unready = g.injected+1, g.unready+1
	return g
}

// step is a pass: what is found, which pods cannot be evicted, what is evicted, and who
// is left alone.
type step struct {
	found     []*group
	refused   []string
	want      []string
	leftAlone []string
}

// TestTrials: which pods are evicted in pass after pass.
func TestTrials(t *testing.T) {
	quiet := func(passes int, found ...*group) []step { return slices.Repeat([]step{{found: found}}, passes) }
	for name, steps := range map[string][]step{
		"one, then one of each": {
			{found: []*group{replicas("a", 0, "a1", "a2", "a3"), replicas("b", 0, "b1", "b2")}, want: []string{"a1"}},
			{found: []*group{replicas("a", 1, "a2", "a3"), replicas("b", 0, "b1", "b2")}, want: []string{"b1", "a2"}},
			{found: []*group{replicas("a", 2, "a3"), replicas("b", 1, "b2")}, want: []string{"b2", "a3"}},
			{found: []*group{replicas("a", 3), replicas("b", 2)}},
		},
		"the first one is not back yet": {
			{found: []*group{replicas("a", 0, "a1", "a2"), replicas("b", 0, "b1")}, want: []string{"a1"}},
			{found: []*group{replicas("a", 0, "a2"), replicas("b", 0, "b1")}},
			{found: []*group{replicas("a", 1, "a2"), replicas("b", 0, "b1")}, want: []string{"b1", "a2"}},
		},
		"the next pod is never Ready": slices.Concat(
			[]step{{found: []*group{replicas("a", 0, "a1", "a2"), replicas("b", 0, "b1")}, want: []string{"a1"}}},
			quiet(mostPasses-1, starting(replicas("a", 0, "a2")), replicas("b", 0, "b1")),
			[]step{
				{found: []*group{starting(replicas("a", 0, "a2")), replicas("b", 0, "b1")}, want: []string{"b1"}, leftAlone: []string{"a"}},
				{found: []*group{starting(replicas("a", 0, "a2")), replicas("b", 1)}},
				// It is at last.
				{found: []*group{replicas("a", 1, "a2"), replicas("b", 1)}, want: []string{"a2"}},
			},
		),
		"the last one is never Ready": slices.Concat(
			[]step{{found: []*group{replicas("a", 0, "a1")}, want: []string{"a1"}}},
			quiet(mostPasses-1, starting(replicas("a", 0))),
			[]step{{found: []*group{starting(replicas("a", 0))}, leftAlone: []string{"a"}}, {found: []*group{replicas("a", 1)}}, {}},
		),
		"one that was begun by another leader": {
			{found: []*group{starting(replicas("a", 1, "a2", "a3"))}},
			{found: []*group{replicas("a", 2, "a2", "a3")}, want: []string{"a2"}},
		},
		"a workload of a single pod shows it as well": {
			{found: []*group{replicas("a", 0, "a1"), replicas("b", 0, "b1", "b2")}, want: []string{"a1"}},
			{found: []*group{replicas("b", 0, "b1", "b2")}}, // a1 shuts down
			{found: []*group{starting(replicas("a", 0)), replicas("b", 0, "b1", "b2")}},
			{found: []*group{replicas("a", 1), replicas("b", 0, "b1", "b2")}, want: []string{"b1"}},
		},
		"a StatefulSet of a single pod, whose next one is flawed": {
			{found: []*group{replicas("a", 0, "a-0 first")}, want: []string{"a-0 first"}},
			{}, // it shuts down, and there is no group
			{},
			{found: []*group{replicas("a", 0, "a-0 second")}, leftAlone: []string{"a"}},
			{}, // somebody deletes it
			{found: []*group{replicas("a", 0, "a-0 third")}},
		},
		"a controller that is gone is forgotten": slices.Concat(
			[]step{{found: []*group{replicas("a", 0, "a1"), replicas("b", 0, "b1")}, want: []string{"a1"}}},
			quiet(mostPasses-1, replicas("b", 0, "b1")),
			[]step{{found: []*group{replicas("b", 0, "b1")}, want: []string{"b1"}}},
		),
		"the next pod is flawed as well": {
			{found: []*group{replicas("a", 0, "a1", "a2"), replicas("b", 0, "b1", "b2")}, want: []string{"a1"}},
			{found: []*group{replicas("a", 0, "a2", "a3"), replicas("b", 0, "b1", "b2")}, want: []string{"b1"}, leftAlone: []string{"a"}},
			{found: []*group{replicas("a", 0, "a2", "a3"), replicas("b", 0, "b2", "b3")}, leftAlone: []string{"b"}},
			{found: []*group{replicas("a", 0, "a2", "a3"), replicas("b", 0, "b2", "b3")}},
		},
		"what was trusted fails, and is tried with a single pod": {
			{found: []*group{replicas("a", 0, "a1", "a2"), replicas("b", 0, "b1", "b2"), replicas("c", 0, "c1")}, want: []string{"a1"}},
			{found: []*group{replicas("a", 1, "a2"), replicas("b", 0, "b1", "b2")}, want: []string{"b1", "a2"}},
			{found: []*group{replicas("a", 1, "a3"), replicas("b", 1, "b2"), replicas("c", 0, "c1")}, want: []string{"b2"}, leftAlone: []string{"a"}},
			{found: []*group{replicas("a", 1, "a3"), replicas("b", 1), replicas("c", 0, "c1")}},
		},
		"those that cannot be evicted keep none of the others": {
			{found: []*group{replicas("a", 0, "a1"), replicas("b", 0, "b1"), replicas("c", 0, "c1", "c2")}, refused: []string{"a1", "b1"}, want: []string{"c1"}},
			{found: []*group{replicas("a", 0, "a1"), replicas("b", 0, "b1"), replicas("c", 1, "c2")}, refused: []string{"a1"}, want: []string{"b1", "c2"}},
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
					if !trials.open() {
						break
					}
					trials.tried(c)
					if slices.Contains(step.refused, c.pod.name) {
						continue
					}
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

// TestTrialsTakeTurns: a pass that has time for one begins where the last one ended.
func TestTrialsTakeTurns(t *testing.T) {
	trials, f := newTrials(), &findings{groups: []*group{replicas("c", 0, "c1"), replicas("a", 0, "a1"), replicas("b", 0, "b1")}}
	var tried []string
	for range 4 {
		first := trials.candidates(f)[0]
		trials.tried(first)
		tried = append(tried, first.pod.name)
	}
	if diff := cmp.Diff([]string{"a1", "b1", "c1", "a1"}, tried); diff != "" {
		t.Errorf("tried (-want +got):\n%s", diff)
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
