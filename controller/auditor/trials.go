package auditor

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// mostPasses is after how many passes a pod that was evicted is not expected back. A
// StatefulSet makes the next one when the one before is gone, which takes its grace period.
const mostPasses = 20

// trials decide which pods may be evicted now. An eviction is worth it only if the pod
// that takes the place has its sidecar, and nobody knows that before there is one. So
// the first eviction of all is a single one, then the first of each workload; the
// others follow when a pod with its sidecar has appeared. A workload whose next pod is
// without it as well is left alone, and what was trusted is tried again with a
// single pod: a webhook that is broken in a way that we do not see costs one pod at a time.
type trials struct {
	// trusted says that the last pod that was made anew had its sidecar.
	trusted bool
	groups  map[types.UID]*trial
}

// trial is what was done to the pods of one controller.
type trial struct {
	// injected is how many pods had a sidecar when the last one was evicted, and flawed
	// which ones had none that works.
	injected int
	flawed   map[types.UID]bool
	// passes since then.
	passes int
	// proven says that a pod with its sidecar came after an eviction.
	proven bool
	// leftAlone says that one without it came.
	leftAlone bool
}

func newTrials() *trials { return &trials{groups: map[types.UID]*trial{}} }

// evictable says whether something makes a pod anew and nothing is lost with the old
// one: controllers that keep a number of pods running. The pod of a Job would
// count as failed, and its work would be lost; it ends by itself, and the next has its
// sidecar. What others do with a pod that goes is not known.
func (g *group) evictable() bool {
	return strings.HasPrefix(g.controller.APIVersion, "apps/") && slices.Contains([]string{"ReplicaSet", "StatefulSet", "DaemonSet"}, g.controller.Kind)
}

// learn compares what is there now with what was there before the last evictions, and
// returns the groups that are left alone from now on, with the reason.
func (t *trials) learn(f *findings) (given []givenUp) {
	current := map[types.UID]*group{}
	for _, g := range f.groups {
		current[g.id()] = g
	}
	failed := false
	for id, past := range t.groups {
		g := current[id]
		if g != nil && g.injected > past.injected && !past.leftAlone {
			past.proven, t.trusted = true, true
		}
		past.passes++
		switch {
		case g == nil || len(g.flawed) == 0:
			delete(t.groups, id) // all is well, or the controller is gone
		case past.leftAlone:
		case slices.ContainsFunc(g.flawed, func(pod flawed) bool { return !past.flawed[pod.uid] }):
			past.leftAlone, failed = true, true
			given = append(given, givenUp{g, "the pod that came in place of an evicted one has no sidecar that works either"})
		case !past.proven && past.passes >= mostPasses:
			past.leftAlone = true
			given = append(given, givenUp{g, "no pod came in place of an evicted one"})
		}
	}
	// Whatever others show: something is wrong with new pods.
	t.trusted = t.trusted && !failed
	return given
}

// givenUp is a group that is left alone, and why.
type givenUp struct {
	*group
	why string
}

// candidates are the pods to evict now, in the order in which to do it.
func (t *trials) candidates(f *findings) []candidate {
	if !t.trusted && t.waiting() {
		return nil // the only one that was evicted is not back yet
	}
	var found []candidate
	for _, g := range f.groups {
		past := t.groups[g.id()]
		if !g.evictable() || len(g.flawed) == 0 || past != nil && (past.leftAlone || !past.proven) {
			continue
		}
		if !t.trusted {
			return []candidate{{g, g.flawed[0]}}
		}
		if past == nil {
			found = append(found, candidate{g, g.flawed[0]})
			continue
		}
		for _, pod := range g.flawed {
			found = append(found, candidate{g, pod})
		}
	}
	return found
}

// candidate is a pod that may be evicted.
type candidate struct {
	*group
	pod flawed
}

// evicted notes that the pod goes.
func (t *trials) evicted(c candidate) {
	past := t.groups[c.id()]
	if past == nil {
		past = &trial{}
		t.groups[c.id()] = past
	}
	past.injected, past.flawed, past.passes = c.injected, map[types.UID]bool{}, 0
	past.proven = past.proven && t.trusted
	for _, pod := range c.flawed {
		past.flawed[pod.uid] = true
	}
}

// tracked says whether something was evicted of a group that still has to be looked at.
func (t *trials) tracked(id types.UID) bool { return t.groups[id] != nil }

// waiting says whether a pod that was evicted is not known to be back.
func (t *trials) waiting() bool {
	for _, past := range t.groups {
		if !past.proven && !past.leftAlone {
			return true
		}
	}
	return false
}

// leftAlone counts the workloads that are.
func (t *trials) leftAlone() int {
	count := 0
	for _, past := range t.groups {
		if past.leftAlone {
			count++
		}
	}
	return count
}
