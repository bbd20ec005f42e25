package proxy

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/pillion-mesh/pillion/bootstrap"
)

// settleFor is how long a destination that is new may have no address. Then it is taken
// as it is: it may not exist, as a sandbox does not that requests fall back from.
const settleFor = 5 * time.Second

// awaitAddresses waits until clusters are in service. One that comes in the place of
// another has addresses then, if that one has: so nobody is led from a destination that
// works to one whose name DNS has not answered for.
func (m *applier) awaitAddresses(ctx context.Context, added []bootstrap.Cluster) error {
	if len(added) == 0 {
		return nil
	}
	var inService time.Time
	for began, wait := time.Now(), 4*firstPause; ; wait = min(2*wait, longestPause) {
		found, err := m.lacking(ctx, added)
		if !found.warming && inService.IsZero() {
			inService = time.Now()
		}
		switch {
		case err != nil:
			found.why = err.Error()
		case found.why == "", !found.replaces && !found.warming && time.Since(inService) > settleFor:
			return nil
		}
		if m.folder.changed() {
			return errSuperseded
		}
		if time.Since(began) > sayAfter {
			m.waiting(found.why)
		}
		if !pause(ctx, wait) {
			return ctx.Err()
		}
	}
}

// lack is what clusters lack: the first that does.
type lack struct {
	// warming has not been put into service; else it has no address.
	warming bool
	// replaces one that has addresses.
	replaces bool
	// why is empty where nothing is lacking.
	why string
}

// lacking says what new clusters lack. What comes in the place of one that works is said
// before what does not.
func (m *applier) lacking(ctx context.Context, added []bootstrap.Cluster) (found lack, err error) {
	// Envoy lists those that are in service.
	use, err := m.admin.clusterUse(ctx, slices.Concat(added, m.clusters))
	if err != nil {
		return lack{warming: true}, err
	}
	for _, of := range added {
		is, inService := use[of.Name]
		switch {
		case !inService:
			return lack{warming: true, why: fmt.Sprintf("DNS has not answered for the destination %s yet", of.Plain())}, nil
		case !of.HasAddresses() || is.hosts > 0:
		case m.works(of.Plain(), use):
			return lack{replaces: true, why: fmt.Sprintf("DNS has no address for the destination %s as it is wanted now, and has one as it was before", of.Plain())}, nil
		default:
			found.why = fmt.Sprintf("DNS has no address for the destination %s", of.Plain())
		}
	}
	return found, nil
}

// works says whether a destination in force has addresses.
func (m *applier) works(plain string, use map[string]clusterUse) bool {
	return slices.ContainsFunc(m.clusters, func(c bootstrap.Cluster) bool { return c.Plain() == plain && use[c.Name].hosts > 0 })
}

// awaitFirstAddresses keeps a pod from being ready while the clusters that Envoy was
// started with have no addresses, for some time.
func (m *applier) awaitFirstAddresses(ctx context.Context) {
	for over := time.Now().Add(longestSettling); time.Now().Before(over); {
		if found, err := m.lacking(ctx, m.clusters); err == nil && found.why == "" || !pause(ctx, longestPause) {
			return
		}
	}
}
