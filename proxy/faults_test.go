package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// awaitReason waits until the sidecar is on its way, and says what is in it.
func (s *meshed) awaitReason(says string) {
	s.t.Helper()
	eventually(s.t, "it waits: "+says, func() (string, bool) {
		is := s.status()
		return fmt.Sprintf("%+v", is), is.State == lifecycle.MeshApplying && strings.Contains(is.Reason, says)
	})
}

// TestDiskIsFull: a change waits for room, and says so.
func TestDiskIsFull(t *testing.T) {
	t.Parallel()
	s := startMeshed(t, func(of *command) {
		if err := unix.Mount("tmpfs", of.Folder, "tmpfs", 0, "size=256k,mode=777"); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = unix.Unmount(of.Folder, unix.MNT_DETACH) })
	})
	s.waitReady(t)
	filler := filepath.Join(s.Folder, "filler")
	if err := os.WriteFile(filler, make([]byte, 256<<10), 0o600); !errors.Is(err, syscall.ENOSPC) {
		t.Fatalf("the folder is not full: %v", err)
	}
	g := numbered(1)
	s.put(sealed(t, g))
	s.awaitReason("the volume pillion-run is full")
	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s.await(g.Version, lifecycle.MeshApplied)
}

// TestCannotBeKept: what is in force is said to be, also while there is no room to note it
// for the next container; and it is noted later.
func TestCannotBeKept(t *testing.T) {
	t.Parallel()
	s := startMeshed(t, nil)
	s.waitReady(t)
	// A file that nothing can be moved to, as the rest of a full volume.
	inTheWay := filepath.Join(s.Folder, lastGood)
	if err := os.MkdirAll(filepath.Join(inTheWay, "something"), 0o700); err != nil {
		t.Fatal(err)
	}
	g := numbered(1)
	s.put(sealed(t, g))
	if is := s.await(g.Version, lifecycle.MeshApplied); is.Running == nil || is.Running.Version != g.Version {
		t.Errorf("running %+v", is.Running)
	}
	eventually(t, "it says that it is not kept", func() (string, bool) {
		is := s.status()
		return fmt.Sprintf("%+v", is), is.State == lifecycle.MeshApplied && strings.Contains(is.Reason, "a container that is killed would not start with it")
	})
	if err := os.RemoveAll(inTheWay); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is kept", func() (string, bool) {
		data, err := os.ReadFile(inTheWay)
		return fmt.Sprint(err), strings.Contains(string(data), g.Version) && s.status().Reason == ""
	})
}

// TestAttemptsAreDeaths: only what the sidecar does not survive is counted.
func TestAttemptsAreDeaths(t *testing.T) {
	t.Parallel()
	m := &applier{sidecar: &Sidecar{Folder: t.TempDir()}}
	step := func(name string, ends error, before, meanwhile, after int) {
		t.Helper()
		if n := m.sidecar.times(attempt, "v"); n != before {
			t.Errorf("%s: %d before, want %d", name, n, before)
		}
		m.try("v")
		_ = m.survive(func() error {
			if n := m.sidecar.times(attempt, "v"); n != meanwhile {
				t.Errorf("%s: a death would be number %d, want %d", name, n, meanwhile)
			}
			return ends
		})
		if n := m.sidecar.times(attempt, "v"); n != after {
			t.Errorf("%s: %d after, want %d", name, n, after)
		}
	}
	step("it succeeds", nil, 0, 1, 0)
	step("it is rejected", &rejection{}, 0, 1, 0)
	step("the sidecar ends", context.Canceled, 0, 1, 1)
	step("it succeeds after that", nil, 1, 2, 1)
	step("the sidecar ends again", context.Canceled, 1, 2, 2)
	if n := m.sidecar.times(attempt, "w"); n != 0 {
		t.Errorf("another version has %d", n)
	}
}

// TestWaitingIsNoAttempt: a generation that waits for DNS does not count as one that the
// sidecar has not survived, however often that is restarted meanwhile.
func TestWaitingIsNoAttempt(t *testing.T) {
	t.Parallel()
	s := startMeshed(t, nil)
	s.waitReady(t)
	g := numbered(1)
	g.Clusters = append(g.Clusters, bootstrap.Cluster{Name: "slow@1", Message: json.RawMessage(`{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "slow@1", "alt_stat_name": "slow",
		"type": "STRICT_DNS", "connect_timeout": "5s", "dns_lookup_family": "V4_ONLY",
		"load_assignment": {"cluster_name": "slow", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "slow.test", "port_value": 80}}}}]}]}}`)})
	s.put(sealed(t, g))
	s.awaitReason("for the destination slow") // nobody answers for DNS in this pod
	if content, err := os.ReadFile(filepath.Join(s.Folder, attempt)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("it is counted: %q %v", content, err)
	}
	next := numbered(2)
	s.put(sealed(t, next))
	s.await(next.Version, lifecycle.MeshApplied)
}

// TestRestored: an older generation is refused when it comes, and taken when it stays, as
// after an etcd was restored. Another one in between begins anew.
func TestRestored(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_700_000_000, 0)
	s := &Sidecar{Folder: t.TempDir(), PodNamespace: "shop"}
	s.Run.Service = "shop/checkout"
	m := &applier{sidecar: s, clock: func() time.Time { return now }}
	m.config.Generation = numbered(5)
	judge := func(number int64, after time.Duration, taken bool) {
		t.Helper()
		now = now.Add(after)
		if _, err := m.judge(sealed(t, numbered(number))); (err == nil) != taken {
			t.Errorf("number %d after %s: %v", number, after, err)
		}
	}
	judge(4, 0, false)
	judge(4, restoredAfter-time.Second, false)
	judge(3, time.Second, false)
	judge(3, restoredAfter-time.Second, false)
	if m.isRestored() {
		t.Error("it is taken too early")
	}
	now = now.Add(time.Second)
	if !m.isRestored() {
		t.Error("nobody looks again at what stays")
	}
	judge(3, 0, true)
	if m.isRestored() {
		t.Error("it is looked at again though it was taken")
	}
	judge(4, 0, false)
	judge(6, 0, true)
	judge(4, restoredAfter, false)
	now = now.Add(restoredAfter)
	if _, err := m.judge([]byte("{")); err == nil || m.isRestored() {
		t.Errorf("what came after it is looked at again and again: %v", err)
	}
}

// TestRestoredIsTaken: nobody has to touch the folder for it.
func TestRestoredIsTaken(t *testing.T) {
	t.Parallel()
	hosts, none := map[string]int{"payments@5": 1, "payments@4": 1}, map[string]int{}
	clusters := answering(&hosts, &none, &none)
	running := numbered(5)
	sealed(t, running)
	m := behind(t, running, func(out http.ResponseWriter, r *http.Request) bool {
		switch r.URL.Path {
		case "/ready":
			_, _ = fmt.Fprint(out, "LIVE")
		case "/listeners":
			_, _ = fmt.Fprintf(out, `{"listener_statuses": [{"name": %q}, {"name": %q}]}`, bootstrap.Inbound, bootstrap.Outbound)
		case "/stats":
			_, _ = fmt.Fprintln(out, "listener_manager.workers_started: 1")
			return clusters(out, r)
		default:
			return clusters(out, r)
		}
		return true
	})
	for _, file := range bootstrap.New(m.config) {
		if err := os.WriteFile(filepath.Join(m.sidecar.Folder, file.Name), file.Content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	older := numbered(4)
	if err := errors.Join(os.Mkdir(m.sidecar.MeshFolder, 0o755), os.WriteFile(filepath.Join(m.sidecar.MeshFolder, bootstrap.GenerationFile), sealed(t, older), 0o600)); err != nil {
		t.Fatal(err)
	}
	var later atomic.Int64
	m.clock = func() time.Time { return time.Unix(1_700_000_000, later.Load()) }
	ctx, cancel := context.WithCancel(t.Context())
	var ends sync.WaitGroup
	ends.Go(func() { m.run(ctx) })
	defer ends.Wait()
	defer cancel()
	await := func(what string, state lifecycle.MeshState) {
		t.Helper()
		eventually(t, what, func() (string, bool) {
			is := m.state().status
			return fmt.Sprintf("%+v", is), is.State == state && is.Wanted != nil && is.Wanted.Version == older.Version
		})
	}
	await("it comes late", lifecycle.MeshRejected)
	later.Store(int64(restoredAfter))
	await("it has stayed", lifecycle.MeshApplied)
}

// TestEnvoyHangsMeanwhile: a change waits for Envoy's main thread, and says so. Of those
// that come while one is under way only the newest is applied.
func TestEnvoyHangsMeanwhile(t *testing.T) {
	t.Parallel()
	s := startMeshed(t, nil)
	s.waitReady(t)
	pid := s.envoy(t)
	if err := syscall.Kill(pid, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	s.put(sealed(t, numbered(1)))
	s.awaitReason("the admin interface of Envoy has not answered in time")
	for n := range int64(8) {
		s.put(sealed(t, numbered(n+2)))
	}
	if err := syscall.Kill(pid, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	s.await(numberedVersion(t, 9), lifecycle.MeshApplied)
	if _, metrics := s.get(t, "/metrics"); !strings.Contains(metrics, "pillion_proxy_generation_applied_total 1\n") && !strings.Contains(metrics, "pillion_proxy_generation_applied_total 2\n") {
		t.Errorf("more were applied than the first and the last:\n%s", metrics)
	}
}

func numberedVersion(t *testing.T, number int64) string {
	t.Helper()
	g := numbered(number)
	sealed(t, g)
	return g.Version
}

// TestOneThatKills: what the sidecar has not survived several times is not tried again,
// and another one is.
func TestOneThatKills(t *testing.T) {
	t.Parallel()
	version := numberedVersion(t, 1)
	s := startMeshed(t, func(of *command) {
		if err := os.WriteFile(filepath.Join(of.Folder, attempt), fmt.Appendf(nil, "%s %d\n", version, mostAttempts), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	s.put(sealed(t, numbered(1)))
	s.waitReady(t)
	if is := s.await(version, lifecycle.MeshRejected); !strings.Contains(is.Reason, "is not tried again: the sidecar has ended 3 times while it was being applied") {
		t.Errorf("%+v", is)
	}
	s.put(sealed(t, numbered(2)))
	s.await(numberedVersion(t, 2), lifecycle.MeshApplied)
	if _, err := os.Stat(filepath.Join(s.Folder, attempt)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the next container would think that this one had not survived: %v", err)
	}
}

// TestDrainMeetsChange: neither happens in the middle of the other.
func TestDrainMeetsChange(t *testing.T) {
	t.Parallel()
	s := startMeshed(t, nil)
	s.waitReady(t)
	unlock, err := lockFolder(s.Folder) // as while listeners change
	if err != nil {
		t.Fatal(err)
	}
	drained := make(chan string, 1)
	go func() {
		var out strings.Builder
		Drain(t.Context(), lifecycle.Drain{DrainTime: time.Minute}, s.Folder, &out)
		drained <- out.String()
	}()
	g := numbered(1)
	s.put(sealed(t, g))
	s.awaitReason("waiting for the end of a change of Envoy's listeners")
	if _, err := os.Stat(filepath.Join(s.Folder, draining)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the drain has begun in the middle of a change: %v", err)
	}
	unlock()
	// It ends by itself, since nobody has ever called this pod.
	if said := <-drained; !strings.Contains(said, "draining inbound connections for 1m0s at most\npillion-proxy: drained: no client has ever connected") {
		t.Errorf("drain: %s", said)
	}
	if _, err := os.Stat(filepath.Join(s.Folder, draining)); err != nil {
		t.Errorf("the drain is over and has not said that it began: %v", err)
	}
	// The change that was waiting has happened before the drain, or does not happen.
	var before lifecycle.MeshStatus
	eventually(t, "it is decided who was first", func() (string, bool) {
		before = s.status()
		return fmt.Sprintf("%+v", before), before.State == lifecycle.MeshApplied || strings.Contains(before.Reason, "the pod is draining")
	})
	next := numbered(2)
	s.put(sealed(t, next))
	s.awaitReason("the pod is draining: nothing is changed any more")
	if diff := cmp.Diff(before.Running, s.status().Running); diff != "" {
		t.Errorf("something else is in force since the drain began (-then +now):\n%s", diff)
	}
}
