package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// What an applier does while it waits, and in moments that a real Envoy cannot be held at.

// behind is an applier with an Envoy that takes everything, and answers as handle does where
// that writes something.
func behind(t *testing.T, running *bootstrap.Generation, handle func(http.ResponseWriter, *http.Request) bool) *applier {
	t.Helper()
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, bootstrap.XDSFolder), 0o755); err != nil {
		t.Fatal(err)
	}
	listener, err := net.Listen("unix", filepath.Join(folder, bootstrap.AdminSocket))
	if err != nil {
		t.Fatal(err)
	}
	w := newWatcher(folder)
	var mutex sync.Mutex
	server := &http.Server{Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		mutex.Lock()
		defer mutex.Unlock()
		if !handle(out, r) {
			w.ServeHTTP(out, r)
		}
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	sidecar := &Sidecar{Folder: folder, MeshFolder: filepath.Join(folder, "mesh"), Stderr: os.Stderr, Run: lifecycle.Run{Service: "shop/checkout", InboundPort: 15006, OutboundPort: 15001}}
	return newApplier(sidecar, bootstrap.Config{Folder: folder, InboundPort: 15006, OutboundPort: 15001, IPv4: true, Generation: running}, &envoy{})
}

// TestFolderThatCannotBeLookedAt for a moment, while addresses are waited for: what is in it is
// taken afterwards, although it is the same.
func TestFolderThatCannotBeLookedAt(t *testing.T) {
	var m *applier
	m = behind(t, nil, func(out http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/clusters" {
			return false
		}
		// In service, without an address; and kubelet's folder is no folder.
		_, _ = fmt.Fprint(out, `{"cluster_statuses": [{"name": "payments@1"}]}`)
		if err := os.Rename(m.sidecar.MeshFolder, m.sidecar.MeshFolder+"-away"); err != nil {
			t.Error(err)
		}
		if err := os.WriteFile(m.sidecar.MeshFolder, nil, 0o600); err != nil {
			t.Error(err)
		}
		return true
	})
	if err := os.Mkdir(m.sidecar.MeshFolder, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(m.sidecar.MeshFolder, bootstrap.GenerationFile), sealed(t, numbered(1)), 0o600); err != nil {
		t.Fatal(err)
	}
	m.take(t.Context())
	if err := os.Remove(m.sidecar.MeshFolder); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(m.sidecar.MeshFolder+"-away", m.sidecar.MeshFolder); err != nil {
		t.Fatal(err)
	}
	if is := m.state().status; is.State != lifecycle.MeshApplying {
		t.Errorf("it is %+v, want it on its way", is)
	}
	if !m.folder.changed() {
		t.Error("nobody would take it again")
	}
}

// TestAskedAboutAddresses: only of what is new and what that comes in the place of, and rarely
// once a minute has passed.
func TestAskedAboutAddresses(t *testing.T) {
	asked := ""
	m := behind(t, nil, func(out http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/clusters" {
			asked = r.URL.Query().Get("filter")
			_, _ = fmt.Fprint(out, `{}`)
		}
		return r.URL.Path == "/clusters"
	})
	m.clusters = []bootstrap.Cluster{static("payments@1", 1), static("users@1", 1)}
	if _, err := m.lacking(t.Context(), []bootstrap.Cluster{static("payments@2", 2)}, map[string]int{}, true); err != nil || asked != "^(payments@2|payments@1)$" {
		t.Errorf("Envoy was asked about %s, %v", asked, err)
	}
	last := firstPause
	for since := time.Duration(0); since < longestUnclear; since += last {
		if last = pauseAfter(last, since); last > longestPause {
			t.Fatalf("after %s it pauses for %s", since, last)
		}
	}
	for range 5 {
		last = pauseAfter(last, longestUnclear+1)
	}
	if last != rarely {
		t.Errorf("it pauses for %s in the end", last)
	}
}

// TestHousekeepingSaysNothing in the place of why something was rejected.
func TestHousekeepingSaysNothing(t *testing.T) {
	m := behind(t, numbered(1), func(http.ResponseWriter, *http.Request) bool { return false })
	for _, state := range []lifecycle.MeshState{lifecycle.MeshRejected, lifecycle.MeshApplied, lifecycle.MeshPassthrough} {
		m.change(func(s *lifecycle.MeshStatus) { s.State, s.Reason = state, "as it was" })
		m.waiting("the volume is full")
		if is := m.state().status; is.State != state || is.Reason != "as it was" {
			t.Errorf("%s: it says %q", state, is.Reason)
		}
	}
	m.want(numbered(2))
	m.waiting("the volume is full")
	if is := m.state().status; is.Reason != "the volume is full" {
		t.Errorf("on its way, it says %q", is.Reason)
	}
}

// TestDrainBeginsInTheMiddle of a change that took longer than `drain` waits: the listeners
// that drain are not replaced.
func TestDrainBeginsInTheMiddle(t *testing.T) {
	next := numbered(2)
	sealed(t, next)
	var m *applier
	version := func(file string) string {
		content, _ := os.ReadFile(filepath.Join(m.sidecar.Folder, file))
		var of struct {
			Version string `json:"version_info"`
		}
		_ = json.Unmarshal(content, &of)
		return of.Version
	}
	m = behind(t, numbered(1), func(_ http.ResponseWriter, _ *http.Request) bool {
		if version(bootstrap.OutboundRoutesFile) == next.Version {
			if err := os.WriteFile(filepath.Join(m.sidecar.Folder, draining), nil, 0o600); err != nil {
				t.Error(err)
			}
		}
		return false
	})
	m.want(next)
	config := m.config
	config.Generation = next
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() { ended <- m.switchOver(ctx, config, nil) }()
	eventually(t, "it says that the pod drains", func() (string, bool) {
		is := m.state().status.Reason
		return is, is == whileDraining
	})
	cancel()
	if err := <-ended; err == nil || !strings.Contains(err.Error(), context.Canceled.Error()) {
		t.Errorf("it ended with %v", err)
	}
	if got := version(bootstrap.ListenersFile); got != next.Version+"-trial" {
		t.Errorf("the listeners are of %s", got)
	}
}

// TestProof: an update is taken when its file was read once more, with its version.
func TestProof(t *testing.T) {
	looks := 0
	m := behind(t, nil, func(out http.ResponseWriter, _ *http.Request) bool {
		says := []string{
			"update_success: 1\ncluster_manager.cds.version_text: \"v\"", // as before, with another content of the same version
			"update_success: 2\ncluster_manager.cds.version_text: \"u\"", // what was written before that
			"update_success: 3\ncluster_manager.cds.version_text: \"v\"",
		}
		_, _ = fmt.Fprintf(out, "cluster_manager.cds.%s\n", says[min(looks, len(says)-1)])
		looks++
		return true
	})
	before := progress{of: map[string]sourceProgress{"cluster_manager.cds": {known: true, accepted: 1, version: "v"}}}
	if err := m.proof(t.Context(), "v", before, 0, []update{clustersUpdate(nil)}); err != nil || looks != 3 {
		t.Errorf("it took %d looks, want 3: %v", looks, err)
	}
}

// TestRejectionsAreNotMistaken: the sentence about an earlier one is not about this.
func TestRejectionsAreNotMistaken(t *testing.T) {
	t.Parallel()
	e := &envoy{rejected: 1, whyRejected: "an earlier one"}
	if says := e.rejectedSince(t.Context(), 1); says != "its log does not say why" {
		t.Errorf("it says %q", says)
	}
	if says := e.rejectedSince(t.Context(), 0); says != "an earlier one" {
		t.Errorf("of that one it says %q", says)
	}
}

// TestTakeLooksAgain at a file that cannot be read, and forgets what was late when there is
// none.
func TestTakeLooksAgain(t *testing.T) {
	m := behind(t, nil, func(http.ResponseWriter, *http.Request) bool { return false })
	file := filepath.Join(m.sidecar.MeshFolder, bootstrap.GenerationFile)
	if err := os.MkdirAll(file, 0o755); err != nil {
		t.Fatal(err)
	}
	m.take(t.Context())
	if is := m.state().status; is.State != lifecycle.MeshApplying || !strings.Contains(is.Reason, "reading the generation") || !m.folder.changed() {
		t.Errorf("it is %+v, and would be looked at again: %t", is, m.folder.changed())
	}
	if err := os.Remove(file); err != nil {
		t.Fatal(err)
	}
	m.late = late{"v", time.Now()}
	m.take(t.Context())
	if is := m.state().status; is.State != lifecycle.MeshPassthrough || m.late != (late{}) || m.folder.changed() {
		t.Errorf("it is %+v, and %+v is waited for", is, m.late)
	}
}

// TestAtStart: the clusters are known as Envoy was started with them, or each would change
// with the next generation.
func TestAtStart(t *testing.T) {
	g := numbered(1)
	sealed(t, g)
	config := bootstrap.Config{InboundPort: 15006, OutboundPort: 15001, IPv4: true, Generation: g}
	m := newApplier(&Sidecar{}, config, &envoy{})
	files := bootstrap.New(config)
	n := slices.IndexFunc(files, func(f bootstrap.File) bool { return f.Name == bootstrap.ClustersFile })
	if got, want := string(bootstrap.NewClusters(config.Version(), m.clusters)), string(files[n].Content); got != want {
		t.Errorf("they are known as %s, and Envoy has %s", got, want)
	}
}

// TestSaidOnce for each generation: what is waited for.
func TestSaidOnce(t *testing.T) {
	log, err := os.Create(filepath.Join(t.TempDir(), "log"))
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	m := &applier{sidecar: &Sidecar{Stderr: log}}
	for n := range int64(2) {
		m.want(numbered(n + 1))
		m.waiting("the volume is full")
		m.waiting("the volume is full")
	}
	if said, err := os.ReadFile(log.Name()); err != nil || strings.Count(string(said), "the volume is full") != 2 {
		t.Errorf("of two generations it is said other than twice: %v\n%s", err, said)
	}
}
