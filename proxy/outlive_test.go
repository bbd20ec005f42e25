package proxy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/lifecycle"
)

// again kills the sidecar and starts it once more in its folder, as kubelet does.
func (s *meshed) again(provenAfter time.Duration) {
	s.t.Helper()
	_ = s.cmd.Process.Kill()
	<-s.done
	before := s.command
	s.process = start(s.t, s.pod, func(of *command) {
		of.Folder, of.MeshFolder, of.Namespace, of.ProvenAfter = before.Folder, before.MeshFolder, before.Namespace, provenAfter
	})
	s.waitReady(s.t)
}

// TestNotSurvived: a generation in force that no container lives with for long is given up,
// which is said, and the next one is taken.
func TestNotSurvived(t *testing.T) {
	t.Parallel()
	s := startMeshed(t, nil)
	s.waitReady(t)
	g := numbered(1)
	s.put(sealed(t, g))
	s.await(g.Version, lifecycle.MeshApplied)
	for range mostAttempts {
		s.again(0)
		if is := s.await(g.Version, lifecycle.MeshApplied); is.Running == nil {
			t.Fatalf("it was given up too early: %+v", is)
		}
	}
	s.again(0)
	is := s.await(g.Version, lifecycle.MeshRejected)
	if is.Running != nil || !strings.Contains(is.Reason, "is not tried again: 3 times in a row the sidecar has started with it") {
		t.Errorf("after %d deaths it is %+v", mostAttempts+1, is)
	}
	if !strings.Contains(s.logged(), "starting with the passthrough: generation "+g.Version) {
		t.Errorf("its log says nothing of that:\n%s", s.logged())
	}
	next := numbered(2)
	s.put(sealed(t, next))
	s.await(next.Version, lifecycle.MeshApplied)
	s.again(0)
	if is := s.await(next.Version, lifecycle.MeshApplied); is.Running == nil {
		t.Errorf("the next one is %+v", is)
	}
}

// TestProven: one that Envoy has served with for long enough is not given up for what happens
// later.
func TestProven(t *testing.T) {
	t.Parallel()
	s := startMeshed(t, nil)
	s.waitReady(t)
	g := numbered(1)
	s.put(sealed(t, g))
	s.await(g.Version, lifecycle.MeshApplied)
	noted := filepath.Join(s.Folder, starts)
	s.again(0)
	if content, err := os.ReadFile(noted); string(content) != g.Version+" 1\n" {
		t.Errorf("it is noted as %q, %v", content, err)
	}
	s.again(time.Second)
	eventually(t, "its starts are forgotten", func() (string, bool) {
		content, err := os.ReadFile(noted)
		return fmt.Sprintf("%s %v", content, err), errors.Is(err, os.ErrNotExist)
	})
}

// TestDiedOfAnAttempt: a container that ended while another generation was being applied says
// nothing of the one in force.
func TestDiedOfAnAttempt(t *testing.T) {
	s, _ := unstarted(t)
	g := numbered(1)
	for file, content := range map[string][]byte{lastGood: sealed(t, g), attempt: []byte("another 1\n")} {
		if err := os.WriteFile(filepath.Join(s.Folder, file), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for range mostAttempts + 1 {
		if s.resume() == nil || s.times(starts, g.Version) != 0 {
			t.Fatalf("it is counted: %d", s.times(starts, g.Version))
		}
	}
	if err := os.Remove(filepath.Join(s.Folder, attempt)); err != nil {
		t.Fatal(err)
	}
	if s.resume() == nil || s.times(starts, g.Version) != 1 {
		t.Errorf("with no attempt it is counted %d times", s.times(starts, g.Version))
	}
}
