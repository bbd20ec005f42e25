package proxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// What outlives a container: the generation in force, how often one was tried, and how often
// Envoy crashed soon with it.

const (
	// lastGood is the generation in force, as it was read.
	lastGood = "generation.json"
	// attempt says which one is being tried, and how often it has been.
	attempt = "attempt"
	// crashes says with which one Envoy crashed before it had served for provenAfter, and how often
	// in a row.
	crashes = "crashes"
	// mostAttempts of one that the sidecar does not survive.
	mostAttempts = 3
	// provenAfter is how long Envoy has to serve.
	provenAfter = time.Minute
)

// resume is the generation that an earlier container of this pod had in force; nil
// where there was none or it cannot be read, or where it is not survived: an Envoy that ends
// with the first requests would otherwise do so for ever, and nothing newer be looked at.
func (s *Sidecar) resume() *bootstrap.Generation {
	data, err := os.ReadFile(filepath.Join(s.Folder, lastGood))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	var g *bootstrap.Generation
	if err == nil {
		g, err = bootstrap.ParseGeneration(data)
	}
	if err != nil {
		s.say("starting with the passthrough: what an earlier container had in force is lost: %v", err)
		return nil
	}
	if crashed := s.times(crashes, g.Version); crashed >= mostAttempts {
		s.say("starting with the passthrough: %s %s", named(g), unsurvived(crashed))
		return nil
	}
	s.say("starting with %s, which an earlier container had in force", named(g))
	return g
}

func unsurvived(times int) string {
	return fmt.Sprintf("is not tried again: %d times in a row Envoy has crashed with it before it had served for %s", times, provenAfter)
}

// prove forgets crashes, once Envoy has served for long enough with what it was started with.
func (s *Sidecar) prove(ctx context.Context) {
	if pause(ctx, cmp.Or(s.provenAfter, provenAfter)) {
		_ = os.Remove(filepath.Join(s.Folder, crashes))
	}
}

// blame holds the early end of Envoy against what is in force, unless somebody asked for it or sent
// SIGKILL, or it came while another generation was tried. A container that is killed as
// a whole does not come here, so nobody can take a document out of force by that.
func (s *Sidecar) blame(running *lifecycle.MeshGeneration, status syscall.WaitStatus, asked string, outOfMemory bool) {
	killed := status.Signaled() && status.Signal() == syscall.SIGKILL && !outOfMemory
	if running == nil || asked != "" || killed {
		return
	}
	if _, err := os.Stat(filepath.Join(s.Folder, attempt)); err != nil {
		s.remember(crashes, running.Version, s.times(crashes, running.Version)+1)
	}
}

// times that a file says of a version.
func (s *Sidecar) times(file, version string) int {
	content, _ := os.ReadFile(filepath.Join(s.Folder, file))
	var of string
	n := 0
	if _, err := fmt.Sscan(string(content), &of, &n); err != nil || of != version {
		return 0
	}
	return n
}

func (s *Sidecar) remember(file, version string, times int) {
	if err := replace(filepath.Join(s.Folder, file), fmt.Appendf(nil, "%s %d\n", version, times)); err != nil {
		s.say("%v", err)
	}
}

// survive notes that a generation is tried, in case the sidecar does not survive a step of
// that. A step that ends has been survived, with whatever error; one that the end of the
// sidecar has cut off may be its cause.
func (m *applier) survive(version string, step func() error) error {
	died := m.sidecar.times(attempt, version)
	m.sidecar.remember(attempt, version, died+1)
	err := step()
	switch {
	case errors.Is(err, context.Canceled):
	case died == 0:
		m.forget()
	default:
		m.sidecar.remember(attempt, version, died)
	}
	return err
}

func (m *applier) forget() { _ = os.Remove(filepath.Join(m.sidecar.Folder, attempt)) }
