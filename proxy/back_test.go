package proxy

import (
	"context"
	"encoding/json"
	"errors"
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
)

// watcher answers as Envoy's admin interface does of one that takes what is moved to the
// names of its files, but for one version of each. Envoy itself takes all that it took on
// trial, so it cannot show what happens then. A port's routes are read when the listener
// that names them is there, and that is not in use before.
type watcher struct {
	folder  string
	refuses map[string]string // version, by name of the file
	refusal string            // the counter of what it refuses
	warming int               // looks until new listeners are in use
	reading int               // looks until new listeners have read their routes
	taken   map[string]string // content, by prefix of the statistics
	counts  map[string]int
	mutex   sync.Mutex
}

func newWatcher(folder string) *watcher {
	return &watcher{folder: folder, refusal: ".update_rejected", refuses: map[string]string{}, taken: map[string]string{}, counts: map[string]int{}}
}

// version of a file that is there.
func (w *watcher) version(name string) string {
	content, _ := os.ReadFile(filepath.Join(w.folder, name))
	var file struct {
		Version string `json:"version_info"`
	}
	_ = json.Unmarshal(content, &file)
	return file.Version
}

func (w *watcher) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if r.URL.Path != "/stats" {
		http.Error(out, "no", http.StatusForbidden)
		return
	}
	for n, name := range []string{bootstrap.ClustersFile, bootstrap.ListenersFile, bootstrap.InboundRoutesFile, bootstrap.OutboundRoutesFile} {
		w.look(out, name, sources()[n].prefix)
	}
	reads := false
	if listeners := w.version(bootstrap.ListenersFile); listeners != "" && !strings.HasSuffix(listeners, "-trial") {
		_, _ = fmt.Fprintf(out, "listener_manager.total_listeners_warming: %d\n", w.warming)
		reads = w.reading == 0
		w.warming, w.reading = max(0, w.warming-1), max(0, w.reading-1)
	}
	for _, name := range []string{portRoutes, newPortRoutes} {
		port := strings.TrimSuffix(strings.TrimPrefix(name, bootstrap.XDSFolder+"/rds-"), ".json")
		if prefix := "http.inbound_http.rds." + port; reads || w.taken[prefix] != "" {
			w.look(out, name, prefix)
		}
	}
	for name, n := range w.counts {
		_, _ = fmt.Fprintf(out, "%s: %d\n", name, n)
	}
}

// portRoutes are those of the port that numbered generations have, and newPortRoutes those of
// one that comes.
const (
	portRoutes    = bootstrap.XDSFolder + "/rds-inbound-8080.json"
	newPortRoutes = bootstrap.XDSFolder + "/rds-inbound-9090.json"
)

// look says what has become of one file.
func (w *watcher) look(out http.ResponseWriter, name, prefix string) {
	content, err := os.ReadFile(filepath.Join(w.folder, name))
	if err != nil {
		return
	}
	version := w.version(name)
	isRefused := w.refuses[name] == version
	if w.taken[prefix] != string(content) {
		w.taken[prefix] = string(content)
		w.counts[prefix+map[bool]string{true: w.refusal, false: ".update_success"}[isRefused]]++
	}
	if !isRefused {
		_, _ = fmt.Fprintf(out, "%s.version_text: %q\n", prefix, version)
	}
}

// watched is an applier with an Envoy that has one generation, and another one to be switched
// over to, in which clusters change in place.
func watched(t *testing.T) (m *applier, w *watcher, next bootstrap.Config, changed []bootstrap.Cluster) {
	t.Helper()
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, bootstrap.XDSFolder), 0o755); err != nil {
		t.Fatal(err)
	}
	before, after := withDatabase(numbered(1), "4s"), withDatabase(numbered(1), "7s")
	after.Number, after.Inbound = 2, append(slices.Clone(after.Inbound), bootstrap.InboundPort{Port: 9090})
	for _, g := range []*bootstrap.Generation{before, after} {
		sealed(t, g)
	}
	listener, err := net.Listen("unix", filepath.Join(folder, bootstrap.AdminSocket))
	if err != nil {
		t.Fatal(err)
	}
	w = newWatcher(folder)
	server := &http.Server{Handler: w}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })

	config := bootstrap.Config{Folder: folder, InboundPort: 15006, OutboundPort: 15001, IPv4: true, Generation: before}
	m = newApplier(&Sidecar{Folder: folder, Stderr: os.Stderr}, config, &envoy{})
	next = config
	next.Generation = after
	changed = m.changedInPlace(after.Clusters)
	if len(changed) != 2 || changed[0].Name != "db" || changed[1].Name != "queue" {
		t.Fatalf("changed in place are %v", changed)
	}
	return m, w, next, changed
}

// TestBack: when something is rejected after clusters have changed in place, at whatever
// step, everything that was changed changes back.
func TestBack(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, suffix, refusal, says string }{
		{bootstrap.ListenersFile, "-trial", ".update_rejected", "the listeners (LDS)"},
		{bootstrap.ClustersFile, "", ".update_failure", "the clusters (CDS)"},
		{bootstrap.InboundRoutesFile, "", ".update_rejected", "the routes inbound (RDS)"},
		{bootstrap.OutboundRoutesFile, "", ".update_failure", "the routes outbound (RDS)"},
		{bootstrap.ListenersFile, "", ".update_rejected", "the listeners (LDS)"},
		{portRoutes, "", ".update_rejected", "the routes inbound-8080 (RDS)"},
		{newPortRoutes, "", ".update_failure", "the routes inbound-9090 (RDS)"},
	} {
		t.Run(test.name+test.suffix, func(t *testing.T) {
			t.Parallel()
			m, w, next, changed := watched(t)
			w.refuses[test.name], w.refusal = next.Version()+test.suffix, test.refusal
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			if err := m.switchOver(ctx, next, changed); err == nil || !strings.Contains(err.Error(), "Envoy rejected "+test.says) {
				t.Errorf("it was taken: %v", err)
			}
			for _, name := range []string{bootstrap.ClustersFile, bootstrap.ListenersFile, bootstrap.InboundRoutesFile, bootstrap.OutboundRoutesFile, portRoutes} {
				version := w.version(name)
				// Routes that were not changed yet are not there.
				if mayBeNone := strings.Contains(name, "rds"); version != m.config.Version() && (version != "" || !mayBeNone) {
					t.Errorf("Envoy is left with version %q of %s", version, name)
				}
			}
			if version := w.version(newPortRoutes); version != "" {
				t.Errorf("Envoy is left with the routes of a port that it does not have, of version %q", version)
			}
			content, err := os.ReadFile(filepath.Join(m.sidecar.Folder, bootstrap.ClustersFile))
			if err != nil || strings.Count(string(content), `"4s"`) != 2 || strings.Contains(string(content), `"7s"`) {
				t.Errorf("Envoy is left with %s, %v", content, err)
			}
		})
	}
}

// TestListenersAreAwaited: what is new is said to be in force when it is: listeners are in use,
// and have read the routes that they name.
func TestListenersAreAwaited(t *testing.T) {
	t.Parallel()
	for name, looks := range map[string][2]int{"in use": {20, 0}, "with their routes": {0, 20}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			m, w, next, changed := watched(t)
			w.warming, w.reading = looks[0], looks[1]
			gone := filepath.Join(m.sidecar.Folder, bootstrap.XDSFolder, "rds-inbound-7070.json")
			if err := os.WriteFile(gone, nil, 0o600); err != nil {
				t.Fatal(err)
			}
			if err := m.switchOver(t.Context(), next, changed); err != nil {
				t.Fatal(err)
			}
			w.mutex.Lock()
			defer w.mutex.Unlock()
			for _, routes := range []string{"inbound-8080", "inbound-9090"} {
				if w.warming > 0 || !strings.Contains(w.taken["http.inbound_http.rds."+routes], next.Version()) {
					t.Errorf("it is in force, and listeners are %d looks away from it with the routes %s: %q", w.warming, routes, w.taken)
				}
			}
			if _, err := os.Stat(gone); !errors.Is(err, os.ErrNotExist) {
				t.Errorf("the routes of a port that is gone are there: %v", err)
			}
			for _, name := range []string{bootstrap.ClustersFile, bootstrap.ListenersFile, bootstrap.InboundRoutesFile, bootstrap.OutboundRoutesFile, portRoutes, newPortRoutes} {
				if version := w.version(name); version != next.Version() {
					t.Errorf("of %s in force, %s has version %q", next.Version(), name, version)
				}
			}
		})
	}
}

// TestApplied: what is in force then, and what may still be in use of what was before.
func TestApplied(t *testing.T) {
	t.Parallel()
	m := behind(t, numbered(1), func(out http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/clusters" {
			return false
		}
		_, _ = fmt.Fprint(out, `{"cluster_statuses": [{"name": "payments@1", "host_statuses": [{}]}, {"name": "payments@2", "host_statuses": [{}]}]}`)
		return true
	})
	first := numbered(1)
	first.Number = 3
	for _, test := range []struct {
		next         *bootstrap.Generation
		has, retired string
	}{
		{numbered(2), "payments@2", "payments@1"},
		{first, "payments@1", "payments@2"}, // though it was retired
	} {
		sealed(t, test.next)
		m.sidecar.remember(attempt, test.next.Version, 1) // by an earlier container
		if err := m.apply(t.Context(), test.next); err != nil {
			t.Fatal(err)
		}
		if m.config.Generation != test.next || len(m.clusters) != 1 || m.clusters[0].Name != test.has {
			t.Errorf("in force is %+v with %v", m.config.Generation, m.clusters)
		}
		if len(m.retired) != 1 || m.retired[0].Name != test.retired || m.retired[0].looks < fewestLooks {
			t.Errorf("beside it there are %+v, want %s with looks at it", m.retired, test.retired)
		}
		if m.kept || m.trying.version != "" || m.sidecar.times(attempt, test.next.Version) != 0 {
			t.Errorf("kept %t, on its way is %+v", m.kept, m.trying)
		}
	}
}
