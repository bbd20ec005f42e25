package auditor

import (
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"
)

// mostPasses is after how many passes a pod that was evicted is not expected back: ten
// minutes at least, as long as a Deployment may take by default. A StatefulSet makes
// the next one when the one before is gone, which takes its grace period.
const mostPasses = 40

// trials decide which pods may be evicted now. An eviction is worth it only if the pod
// that takes the place has its sidecar and serves with it, and nobody knows that before
// there is one that is Ready. So the first eviction of all is a single one, and each
// workload loses one pod at a time: the next one goes when all that have a sidecar are
// Ready. A workload whose next pod is without it as well is left alone, and what was
// trusted is tried again with a single pod: a webhook that is broken in a way that we
// do not see costs one pod at a time.
type trials struct {
	// trusted says that the last pod that was made anew had its sidecar.
	trusted bool
	// groups of which a pod was evicted and none is known to have taken its place.
	groups map[types.UID]*trial
	// last is the place in the order of the group that was tried last.
	last string
}

// trial is what was done to the pods of one controller.
type trial struct {
	// injected is how many pods had a sidecar when the last one was evicted, all of
	// them Ready, and flawed which ones had none that works.
	injected int
	flawed   map[types.UID]bool
	// passes since then; where the group is left alone, since it was last seen.
	passes  int
	outcome outcome
}

// outcome of an eviction whose next pod does not show that it helped.
type outcome int

const (
	// waiting for the next pod to be Ready with its sidecar.
	waiting outcome = iota
	// late: none was in mostPasses. The group is left alone until there is one.
	late
	// failed: one came without its sidecar. The group is left alone until all is well.
	failed
)

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
	distrusted := false
	for id, past := range t.groups {
		past.passes++
		g := current[id]
		if g == nil { // the one pod that there is shuts down, which shows nothing; or the controller is gone
			if past.passes >= mostPasses {
				delete(t.groups, id)
			}
			continue
		}
		was := past.outcome
		over, why := past.judge(g)
		switch {
		case over:
			delete(t.groups, id)
			t.trusted = t.trusted || past.helped(g)
		case past.outcome != was:
			given = append(given, givenUp{g, why})
			distrusted = distrusted || past.outcome == failed
		}
	}
	// Whatever others show: something is wrong with new pods.
	t.trusted = t.trusted && !distrusted
	return given
}

// judge says whether the trial is over, and the reason where the outcome has become
// another one.
func (past *trial) judge(g *group) (over bool, why string) {
	well := len(g.flawed) == 0 && g.unready == 0
	switch {
	case slices.ContainsFunc(g.flawed, func(pod flawed) bool { return !past.flawed[pod.uid] }):
		past.outcome, past.passes = failed, 0
		return false, "the pod that came in place of an evicted one has no sidecar that works either"
	case past.helped(g), past.outcome != waiting && well:
		return true, ""
	case past.outcome != waiting:
		past.passes = 0
		return false, ""
	case past.passes < mostPasses:
		return false, ""
	case well: // fewer pods than there were, and nothing to evict
		return true, ""
	}
	past.outcome, past.passes = late, 0
	if g.unready > 0 {
		return false, "the pod that came in place of an evicted one has its sidecar and is not Ready"
	}
	return false, "no pod came in place of an evicted one"
}

// helped says whether the eviction has brought a pod that has its sidecar and is Ready.
func (past *trial) helped(g *group) bool {
	return past.outcome != failed && g.injected > past.injected && g.unready == 0
}

// givenUp is a group that is left alone, and why.
type givenUp struct {
	*group
	why string
}

// candidates are the pods to try now, one of each group. Whichever was tried last
// comes last: those that cannot be evicted must not be all that is ever tried.
func (t *trials) candidates(f *findings) []candidate {
	var found []candidate
	for _, g := range f.groups {
		if g.evictable() && len(g.flawed) > 0 && g.unready == 0 && t.groups[g.id()] == nil {
			found = append(found, candidate{g, g.flawed[0]})
		}
	}
	slices.SortFunc(found, func(a, b candidate) int { return strings.Compare(a.place(), b.place()) })
	next := slices.IndexFunc(found, func(c candidate) bool { return c.place() > t.last })
	if next < 0 {
		return found
	}
	return slices.Concat(found[next:], found[:next])
}

// candidate is a pod that may be evicted.
type candidate struct {
	*group
	pod flawed
}

// place in the order of groups.
func (c candidate) place() string {
	return c.namespace + "/" + c.controller.Name + "/" + string(c.controller.UID)
}

// open says whether another pod may be evicted now: while nothing is trusted, only when
// none is away.
func (t *trials) open() bool { return t.trusted || !t.waiting() }

// tried notes that the pod's eviction was asked for, whatever came of it.
func (t *trials) tried(c candidate) { t.last = c.place() }

// evicted notes that the pod goes.
func (t *trials) evicted(c candidate) {
	past := &trial{injected: c.injected, flawed: map[types.UID]bool{}}
	for _, pod := range c.flawed {
		past.flawed[pod.uid] = true
	}
	t.groups[c.id()] = past
}

// tracked says whether something was evicted of a group that still has to be looked at.
func (t *trials) tracked(id types.UID) bool { return t.groups[id] != nil }

// waiting says whether a pod that was evicted is not known to be back.
func (t *trials) waiting() bool {
	for _, past := range t.groups {
		if past.outcome == waiting {
			return true
		}
	}
	return false
}

// leftAlone counts the workloads that are.
func (t *trials) leftAlone() int {
	count := 0
	for _, past := range t.groups {
		if past.outcome != waiting {
			count++
		}
	}
	return count
}
