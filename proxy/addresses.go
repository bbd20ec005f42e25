package proxy

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/pillion-mesh/pillion/bootstrap"
)

const (
	// settleFor is how long a destination that is new may have no address although DNS has
	// answered. Then it is taken as it is: it may not exist, as a sandbox does not that requests
	// fall back from.
	settleFor = 5 * time.Second
	// failsAtStart is how long DNS may fail for a destination of a pod that has just been
	// started: long enough for Envoy to ask twice.
	failsAtStart = 1500 * time.Millisecond
	forever      = time.Duration(math.MaxInt64)
)

// patience is how long something is waited for that clusters in service lack.
func (m *applier) patience(of lack) time.Duration {
	switch {
	case of.absent && m.config.Generation == nil:
		// Everything that a MeshService says is still missing: that is worse.
		return 0
	case of.absent:
		return settleFor
	case of.failed && m.starting:
		// The same, and nothing has worked yet that could stop working: the app has the same DNS.
		return failsAtStart
	}
	return forever
}

// awaitAddresses waits until clusters are in service. One that comes in the place of
// another has addresses then, if that one has: so nobody is led from a destination that
// works to one whose name DNS has not answered for. Nor is anybody led to one that is new
// and for which DNS fails, since it may have worked without a declaration. asked is how often
// DNS had answered before they were added, see lacking.
func (m *applier) awaitAddresses(ctx context.Context, added []bootstrap.Cluster, asked map[string]int) error {
	if len(added) == 0 {
		return nil
	}
	var inService time.Time
	for began, wait := time.Now(), 4*firstPause; ; wait = pauseAfter(wait, time.Since(began)) {
		found, err := m.lacking(ctx, added, asked, time.Since(began) < longestUnclear)
		if !found.warming && inService.IsZero() {
			inService = time.Now()
		}
		switch {
		case err != nil:
			found.why = err.Error()
		case found.why == "":
			return nil
		case !found.warming && time.Since(inService) >= m.patience(found):
			m.sidecar.say("going on without an address of %s: requests get HTTP 503, or their fallback, until DNS has one (%s)", strings.Join(found.without, ", "), found.why)
			return nil
		}
		if m.folder.changed() {
			return errSuperseded
		}
		m.dismiss(ctx, added)
		if time.Since(began) > sayAfter {
			m.waiting(found.why)
		}
		// The folder costs little to look at, so that something newer need not wait for long.
		for over := time.Now().Add(wait); time.Now().Before(over) && !m.folder.changed(); {
			if !pause(ctx, min(wait, longestPause)) {
				return ctx.Err()
			}
		}
	}
}

// rarely is how often Envoy is asked about addresses after longestUnclear: a name that DNS has
// not answered for in that time may be wrong, and stay so for weeks.
const rarely = 2 * time.Second

// pauseAfter is the pause between two questions that follows another one.
func pauseAfter(pause, sinceFirst time.Duration) time.Duration {
	if sinceFirst > longestUnclear {
		return min(2*pause, rarely)
	}
	return min(2*pause, longestPause)
}

// lack is what clusters lack: the worst of it.
type lack struct {
	// warming has not been put into service; else it has no address.
	warming bool
	// absent is one that nothing is waited for: DNS says that there is no address, and there
	// was none before.
	absent bool
	// failed is one that DNS says nothing about.
	failed bool
	// without are the destinations that are absent or failed.
	without []string
	// why is empty where nothing is lacking.
	why string
}

const (
	// unknown is a count of answers that says nothing: a retired cluster of the name asks DNS
	// as well, and both are counted as one.
	unknown = -1
	// longestUnclear is how long the end of such a cluster is waited for: a stream may hold it
	// for hours.
	longestUnclear = time.Minute
)

// lacking says what new clusters lack. alone is whether counts of answers have to be those of
// the new clusters alone; what asked has is forgotten where they are not.
func (m *applier) lacking(ctx context.Context, added []bootstrap.Cluster, asked map[string]int, alone bool) (lack, error) {
	// Before their use, so that an answer with addresses is never taken for one without.
	answers, err := m.admin.dnsAnswers(ctx)
	if err != nil {
		return lack{warming: true}, err
	}
	// Envoy lists those that are in service.
	use, err := m.admin.clusterUse(ctx, slices.Concat(added, m.namesakes(added)))
	if err != nil {
		return lack{warming: true}, err
	}
	var replaced, unclear, failed, absent string
	var without []string
	for _, of := range added {
		plain := of.Plain()
		is, inService := use[of.Name]
		switch {
		case !inService:
			return lack{warming: true, why: fmt.Sprintf("DNS has not answered for the destination %s yet", plain)}, nil
		case !of.HasAddresses() || is.hosts > 0:
		case m.works(plain, use):
			replaced = fmt.Sprintf("DNS has no address for the destination %s as it is wanted now, and has one as it was before", plain)
		case slices.ContainsFunc(m.clusters, func(c bootstrap.Cluster) bool { return asksFor(c, plain) && c.Name != of.Name }):
			without = append(without, plain)
			absent = fmt.Sprintf("DNS has no address for the destination %s, as it is in force or as it is wanted now", plain)
		case alone && m.lingers(plain, added):
			asked[plain] = unknown
			unclear = fmt.Sprintf("DNS has no address for the destination %s, or fails: that is not clear while requests to what it was before are under way", plain)
		case asked[plain] == unknown:
			asked[plain] = answers[plain]
			unclear = fmt.Sprintf("DNS has not answered for the destination %s yet, as it is wanted now", plain)
		case answers[plain] == asked[plain]:
			// Envoy puts a cluster into service after a lookup that failed, too.
			without = append(without, plain)
			failed = fmt.Sprintf("DNS fails for the destination %s: nobody knows whether it has an address", plain)
		default:
			without = append(without, plain)
			absent = fmt.Sprintf("DNS has no address for the destination %s", plain)
		}
	}
	why := cmp.Or(replaced, unclear, failed, absent)
	return lack{absent: why != "" && why == absent, failed: why != "" && why == failed, without: without, why: why}, nil
}

// dnsAnswers is how often DNS has answered for each destination, be it that there is no
// such name.
func (a *admin) dnsAnswers(ctx context.Context) (map[string]int, error) {
	const prefix, suffix = "cluster.", ".update_success"
	values, err := a.stats(ctx, `^cluster\..*\.update_success$`)
	if err != nil {
		return nil, err
	}
	answers := map[string]int{}
	for name, n := range values {
		answers[strings.TrimSuffix(strings.TrimPrefix(name, prefix), suffix)] = n
	}
	return answers, nil
}

// asksFor is true of a cluster that asks DNS for a destination.
func asksFor(c bootstrap.Cluster, plain string) bool { return c.Plain() == plain && c.HasAddresses() }

// namesakes are the destinations in force that others come in the place of.
func (m *applier) namesakes(added []bootstrap.Cluster) []bootstrap.Cluster {
	plain := map[string]bool{}
	for _, of := range added {
		plain[of.Plain()] = true
	}
	return slices.DeleteFunc(slices.Clone(m.clusters), func(c bootstrap.Cluster) bool { return !plain[c.Plain()] })
}

// works says whether a destination in force has addresses.
func (m *applier) works(plain string, use map[string]clusterUse) bool {
	return slices.ContainsFunc(m.clusters, func(c bootstrap.Cluster) bool { return asksFor(c, plain) && use[c.Name].hosts > 0 })
}

// lingers says whether Envoy has a retired cluster of a destination's name, beside those
// that are being added.
func (m *applier) lingers(plain string, added []bootstrap.Cluster) bool {
	return slices.ContainsFunc(m.retired, func(r retired) bool { return asksFor(r.Cluster, plain) && indexOf(added, r.Name) < 0 })
}

// awaitFirstAddresses keeps a pod from being ready while the clusters that Envoy was
// started with have no addresses that they may have, for some time.
func (m *applier) awaitFirstAddresses(ctx context.Context) {
	for over := time.Now().Add(longestSettling); time.Now().Before(over); {
		found, err := m.lacking(ctx, m.clusters, nil, false)
		if err == nil && (found.why == "" || found.absent) || !pause(ctx, longestPause) {
			return
		}
	}
}
