package proxy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/lifecycle"
)

// again ends Envoy by a signal, or the whole container by none, and starts the sidecar once
// more in its folder, as kubelet does.
func (s *meshed) again(by syscall.Signal, provenAfter time.Duration) {
	s.t.Helper()
	victim := s.cmd.Process.Pid
	if by == 0 {
		by = syscall.SIGKILL
	} else {
		victim = s.envoy(s.t)
	}
	if err := syscall.Kill(victim, by); err != nil {
		s.t.Fatal(err)
	}
	<-s.done
	before := s.command
	s.process = start(s.t, s.pod, func(of *command) {
		of.Folder, of.MeshFolder, of.Namespace, of.ProvenAfter = before.Folder, before.MeshFolder, before.Namespace, provenAfter
	})
	s.waitReady(s.t)
}

// TestNotSurvived: a generation in force with which Envoy crashes again and again is given
// up, which is said, and the next one is taken. One is not given up because somebody kills
// containers or Envoys.
func TestNotSurvived(t *testing.T) {
	t.Parallel()
	s := startMeshed(t, nil)
	s.waitReady(t)
	g := numbered(1)
	s.put(sealed(t, g))
	s.await(g.Version, lifecycle.MeshApplied)
	for _, by := range []syscall.Signal{
		syscall.SIGSEGV, 0, syscall.SIGKILL, 0, syscall.SIGKILL, syscall.SIGABRT, 0, syscall.SIGKILL,
	} {
		s.again(by, time.Hour)
		if is := s.await(g.Version, lifecycle.MeshApplied); is.Running == nil {
			t.Fatalf("it was given up too early: %+v", is)
		}
	}
	s.again(syscall.SIGSEGV, time.Hour)
	is := s.await(g.Version, lifecycle.MeshRejected)
	if is.Running != nil || !strings.Contains(is.Reason, "is not tried again: 3 times in a row Envoy has crashed with it") {
		t.Errorf("after %d crashes it is %+v", mostAttempts, is)
	}
	if !strings.Contains(s.logged(), "starting with the passthrough: generation "+g.Version) {
		t.Errorf("its log says nothing of that:\n%s", s.logged())
	}
	next := numbered(2)
	s.put(sealed(t, next))
	s.await(next.Version, lifecycle.MeshApplied)
	s.again(0, time.Hour)
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
	noted := filepath.Join(s.Folder, crashes)
	s.again(syscall.SIGSEGV, 0)
	if content, err := os.ReadFile(noted); string(content) != g.Version+" 1\n" {
		t.Errorf("it is noted as %q, %v", content, err)
	}
	s.again(0, time.Second)
	eventually(t, "its crashes are forgotten", func() (string, bool) {
		content, err := os.ReadFile(noted)
		return fmt.Sprintf("%s %v", content, err), errors.Is(err, os.ErrNotExist)
	})
}

// TestCrashedInBetween: an Envoy that crashes while another generation is on its way, if only
// waited for, is held against that one, and against it alone.
func TestCrashedInBetween(t *testing.T) {
	s, _ := unstarted(t)
	m := &applier{sidecar: s}
	crashed := syscall.WaitStatus(syscall.SIGSEGV)
	m.status.Running = &lifecycle.MeshGeneration{Version: "running"}
	expect := func(when string, ofOther, ofRunning int) {
		t.Helper()
		if other, running := s.times(attempt, "other"), s.times(crashes, "running"); other != ofOther || running != ofRunning {
			t.Errorf("%s: counted %d times of the other and %d times of the one in force, want %d and %d", when, other, running, ofOther, ofRunning)
		}
	}
	m.try("other")
	m.blame(crashed, "")
	m.forget()
	expect("waited for", 1, 0)

	m.blamed = false
	m.try("other")
	_ = m.survive(func() error {
		m.blame(crashed, "")
		return errors.New("the admin interface is gone")
	})
	expect("in a step", 2, 0)

	m.blamed = false
	m.try("other")
	m.blame(syscall.WaitStatus(syscall.SIGKILL), "")
	m.try("")
	m.blame(syscall.WaitStatus(syscall.SIGKILL), "")
	m.blame(syscall.WaitStatus(syscall.SIGTERM), "SIGTERM")
	expect("killed and asked", 2, 0)
	// What an earlier attempt left behind changes nothing.
	m.blame(crashed, "")
	expect("with nothing on its way", 2, 1)
}

// TestCrashedOften: what Envoy has crashed with often is not tried again, but for what is in
// force all the same: that has served since.
func TestCrashedOften(t *testing.T) {
	s := &Sidecar{Folder: t.TempDir(), PodNamespace: "shop"}
	s.Run.Service = "shop/checkout"
	g := numbered(1)
	data := sealed(t, g)
	s.remember(crashes, g.Version, mostAttempts)
	m := &applier{sidecar: s, clock: time.Now}
	if _, err := m.judge(data); err == nil || !strings.Contains(err.Error(), "3 times in a row Envoy has crashed with it") {
		t.Errorf("it is tried: %v", err)
	}
	m.config.Generation = g
	if _, err := m.judge(data); err != nil {
		t.Errorf("in force, it is refused: %v", err)
	}
}
