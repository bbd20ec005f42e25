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

// blame holds an early crash of Envoy against what it was trying, or else against what is in
// force. Nobody can take a document out of force by a SIGKILL, nor does too little memory: of
// what that hits, it says nothing. Nothing is forgotten afterwards, whatever comes to an end.
func (m *applier) blame(status syscall.WaitStatus, asked string) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.blamed = true
	running := m.status.Running
	switch {
	case asked != "" || status.Signaled() && status.Signal() == syscall.SIGKILL:
	case m.trying.version != "":
		m.sidecar.remember(attempt, m.trying.version, m.trying.died+1)
	case running != nil:
		m.sidecar.remember(crashes, running.Version, m.sidecar.times(crashes, running.Version)+1)
	}
}

// trying is a generation that is on its way, and how often the sidecar ended while it was before.
type trying struct {
	version string
	died    int
}

func (m *applier) try(version string) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.trying = trying{version, m.sidecar.times(attempt, version)}
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
func (m *applier) survive(step func() error) error {
	m.note(m.trying.died + 1)
	err := step()
	if !errors.Is(err, context.Canceled) {
		m.note(m.trying.died)
	}
	return err
}

// note how often the sidecar has ended while what is on its way was tried.
func (m *applier) note(died int) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	switch {
	case m.blamed:
	case died == 0:
		_ = os.Remove(filepath.Join(m.sidecar.Folder, attempt))
	default:
		m.sidecar.remember(attempt, m.trying.version, died)
	}
}

func (m *applier) forget() { m.note(0) }
