package proxy

import (
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// withDatabase has a destination of bytes, which a filter chain leads to.
func withDatabase(g *bootstrap.Generation, connectTimeout string) *bootstrap.Generation {
	cluster := bootstrap.Cluster{Name: "db", Message: json.RawMessage(fmt.Sprintf(
		`{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "db", "alt_stat_name": "db", "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": %q}`, connectTimeout))}
	g.Clusters = append(slices.Clone(g.Clusters), cluster)
	g.Outbound.Connections = []bootstrap.Connection{{Name: "db", Port: 5432, Cluster: "db"}}
	return g
}

// modified is what Envoy says of how often clusters and listeners have changed in place.
func (s *meshed) modified() (clusters, listeners string) {
	s.t.Helper()
	_, clusters = s.admin("/stats?filter=" + url.QueryEscape(`^cluster_manager\.cluster_modified$`))
	_, listeners = s.admin("/stats?filter=" + url.QueryEscape(`^listener_manager\.(listener_(modified|in_place_updated)|total_filter_chains_draining)$`))
	return clusters, listeners
}

func (s *meshed) databaseHas(connectTimeout string) {
	s.t.Helper()
	_, dump := s.admin("/config_dump?resource=dynamic_active_clusters&name_regex=" + url.QueryEscape("^db$"))
	if !strings.Contains(dump, `"connect_timeout": "`+connectTimeout+`"`) {
		s.t.Errorf("its connect_timeout is not %s: %s", connectTimeout, dump)
	}
}

// TestChangedInPlace: a cluster that a filter chain leads to changes, and the chain does
// not. With a change that is refused, for whatever of it, the cluster has not changed for
// a moment.
func TestChangedInPlace(t *testing.T) {
	t.Parallel()
	s := startMeshed(t, nil)
	s.waitReady(t)
	apply := func(g *bootstrap.Generation) {
		s.put(sealed(t, g))
		s.await(g.Version, lifecycle.MeshApplied)
	}
	apply(withDatabase(numbered(1), "4s"))
	s.databaseHas("4s")
	clusters, listeners := s.modified()
	next := numbered(1) // so that no route changes
	next.Number = 2
	apply(withDatabase(next, "7s"))
	s.databaseHas("7s")
	changedClusters, sameListeners := s.modified()
	if changedClusters == clusters || sameListeners != listeners {
		t.Errorf("before: %s%safter: %s%s", clusters, listeners, changedClusters, sameListeners)
	}
	eventually(t, "what it was tried as is gone", func() (string, bool) { names := s.clusters(); return names, names == "db payments@1" })

	for name, of := range map[string]struct {
		says   string
		change func(*bootstrap.Generation)
	}{
		"the cluster itself": {"Invalid duration: Expected positive duration", func(g *bootstrap.Generation) {
			g.Clusters[1].Message = json.RawMessage(strings.Replace(string(g.Clusters[1].Message), "9s", "-9s", 1))
		}},
		"a listener": {"Error adding/updating listener(s)", func(g *bootstrap.Generation) {
			g.Outbound.Connections = append(g.Outbound.Connections, g.Outbound.Connections[0])
		}},
		"a route": {"unknown cluster 'nothing'", func(g *bootstrap.Generation) {
			g.Outbound.VirtualHosts = []json.RawMessage{host("payments", "nothing")}
		}},
	} {
		wrong := numbered(1)
		wrong.Number = 3
		withDatabase(wrong, "9s")
		of.change(wrong)
		s.put(sealed(t, wrong))
		eventually(t, name+" is rejected", func() (string, bool) {
			is := s.status()
			return fmt.Sprintf("%+v", is), is.State == lifecycle.MeshRejected && is.Wanted.Version == wrong.Version && strings.Contains(is.Reason, of.says)
		})
		s.databaseHas("7s")
		if now, _ := s.modified(); now != changedClusters {
			t.Errorf("%s: before: %safter: %s", name, changedClusters, now)
		}
	}

	// One that nothing leads to any more, and that Envoy still has, is led to again as it is
	// wanted now.
	apply(numbered(4))
	if names := s.clusters(); !strings.Contains(names, "db") {
		t.Errorf("it is gone already: %s", names)
	}
	apply(withDatabase(numbered(5), "8s"))
	s.databaseHas("8s")
}

// watcher answers as Envoy's admin interface does of one that takes what is moved to the
// names of its files, but for the routes of one version. Envoy itself takes all that it
// took on trial, so it cannot show what happens then.
type watcher struct {
	folder, refuses string
	taken           map[string]string // content, by prefix of the statistics
	counts          map[string]int
}

func (w *watcher) ServeHTTP(out http.ResponseWriter, r *http.Request) {
	if r.URL.Path != "/stats" {
		http.Error(out, "no", http.StatusForbidden)
		return
	}
	names := []string{bootstrap.ClustersFile, bootstrap.ListenersFile, bootstrap.InboundRoutesFile, bootstrap.OutboundRoutesFile}
	for n, source := range sources() {
		content, err := os.ReadFile(filepath.Join(w.folder, names[n]))
		if err != nil {
			continue
		}
		var file struct {
			Version string `json:"version_info"`
		}
		_ = json.Unmarshal(content, &file)
		isRefused := n >= 2 && file.Version == w.refuses
		if w.taken[source.prefix] != string(content) {
			w.taken[source.prefix] = string(content)
			w.counts[source.prefix+map[bool]string{true: ".update_rejected", false: ".update_success"}[isRefused]]++
		}
		if !isRefused {
			_, _ = fmt.Fprintf(out, "%s.version_text: %q\n", source.prefix, file.Version)
		}
	}
	for name, n := range w.counts {
		_, _ = fmt.Fprintf(out, "%s: %d\n", name, n)
	}
}

// TestBackInPlace: when something is rejected after clusters have changed in place, they
// change back.
func TestBackInPlace(t *testing.T) {
	folder := t.TempDir()
	if err := os.Mkdir(filepath.Join(folder, bootstrap.XDSFolder), 0o755); err != nil {
		t.Fatal(err)
	}
	before, after := withDatabase(numbered(1), "4s"), withDatabase(numbered(1), "7s")
	after.Number = 2
	for _, g := range []*bootstrap.Generation{before, after} {
		sealed(t, g)
	}
	listener, err := net.Listen("unix", filepath.Join(folder, bootstrap.AdminSocket))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: &watcher{folder: folder, refuses: after.Version, taken: map[string]string{}, counts: map[string]int{}}}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })

	config := bootstrap.Config{Folder: folder, InboundPort: 15006, OutboundPort: 15001, IPv4: true, Generation: before}
	m := newApplier(&Sidecar{Folder: folder, Stderr: os.Stderr}, config, &envoy{})
	next := config
	next.Generation = after
	changed := m.changedInPlace(after.Clusters)
	if len(changed) != 1 || changed[0].Name != "db" {
		t.Fatalf("changed in place are %v", changed)
	}
	if err := m.switchOver(t.Context(), next, changed); err == nil || !strings.Contains(err.Error(), "Envoy rejected the routes inbound") {
		t.Errorf("it was taken: %v", err)
	}
	content, err := os.ReadFile(filepath.Join(folder, bootstrap.ClustersFile))
	if err != nil || !strings.Contains(string(content), `"4s"`) || strings.Contains(string(content), `"7s"`) {
		t.Errorf("Envoy is left with %s, %v", content, err)
	}
}
