package proxy

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// meshed is a sidecar's first process with a folder for generations.
type meshed struct {
	*process
	t *testing.T
}

func startMeshed(t *testing.T, change func(*command)) *meshed {
	t.Helper()
	s := start(t, sandbox.NewPod(t, "pod"), func(of *command) {
		of.MeshFolder, of.Namespace = t.TempDir(), "shop"
		if change != nil {
			change(of)
		}
	})
	return &meshed{s, t}
}

// put gives the sidecar a generation as kubelet does, by a symlink that is moved.
func (s *meshed) put(content []byte) {
	s.t.Helper()
	folder, err := os.MkdirTemp(s.MeshFolder, "..")
	if err != nil {
		s.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(folder, bootstrap.GenerationFile), content, 0o600); err != nil {
		s.t.Fatal(err)
	}
	link := filepath.Join(s.MeshFolder, "..data")
	for _, do := range []func() error{
		func() error { return os.Symlink(filepath.Base(folder), link+"_tmp") },
		func() error { return os.Rename(link+"_tmp", link) },
	} {
		if err := do(); err != nil {
			s.t.Fatal(err)
		}
	}
	err = os.Symlink("..data/"+bootstrap.GenerationFile, filepath.Join(s.MeshFolder, bootstrap.GenerationFile))
	if err != nil && !os.IsExist(err) {
		s.t.Fatal(err)
	}
}

func sealed(t *testing.T, g *bootstrap.Generation) []byte {
	t.Helper()
	data, err := g.Seal()
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func (s *meshed) status() (of lifecycle.MeshStatus) {
	s.t.Helper()
	_, body := s.get(s.t, lifecycle.MeshStatusPath)
	if err := json.Unmarshal([]byte(body), &of); err != nil {
		s.t.Fatalf("%v: %s", err, body)
	}
	return of
}

// await waits until the sidecar has decided about a version; empty for the passthrough.
func (s *meshed) await(version string, state lifecycle.MeshState) lifecycle.MeshStatus {
	s.t.Helper()
	var is lifecycle.MeshStatus
	eventually(s.t, fmt.Sprintf("version %q is %s", version, state), func() (string, bool) {
		is = s.status()
		wanted := ""
		if is.Wanted != nil {
			wanted = is.Wanted.Version
		}
		return fmt.Sprintf("%+v", is), wanted == version && is.State == state
	})
	return is
}

func static(name string, port int) bootstrap.Cluster {
	return bootstrap.Cluster{Name: name, Message: json.RawMessage(fmt.Sprintf(`{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": %q, "alt_stat_name": %q, "type": "STATIC", "connect_timeout": "5s",
		"load_assignment": {"cluster_name": %[1]q, "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": %[3]d}}}}]}]}}`, name, strings.Split(name, "@")[0], port))}
}

func host(name, cluster string) json.RawMessage {
	return json.RawMessage(fmt.Sprintf(`{"name": %q, "domains": ["%[1]s.test"], "routes": [{"match": {"prefix": ""}, "route": {"cluster": %q}}]}`, name, cluster))
}

// numbered is a generation that leads one destination to a port of the pod.
func numbered(number int64) *bootstrap.Generation {
	cluster := fmt.Sprint("payments@", number)
	return &bootstrap.Generation{
		Service: "shop/checkout", Namespace: "shop", Created: 1_700_000_000, Number: number,
		Clusters: []bootstrap.Cluster{static(cluster, 8000+int(number))},
		Inbound:  []bootstrap.InboundPort{{Port: 8080, Timeout: bootstrap.Duration(time.Duration(number) * time.Second)}},
		Outbound: bootstrap.Destinations{VirtualHosts: []json.RawMessage{host("payments", cluster)}},
	}
}

// led is what Envoy says of how often its listeners were changed, and of its routes and
// when they were.
func (s *meshed) led() string {
	s.t.Helper()
	_, body := s.admin("/stats?filter=" + url.QueryEscape(`^listener_manager\.(listener_(added|modified|in_place_updated|removed)|total_filter_chains_draining|total_listeners_active)$`))
	_, routes := s.admin("/config_dump?resource=dynamic_route_configs")
	return body + routes
}

// admin asks Envoy itself.
func (s *meshed) admin(path string) (int, string) {
	s.t.Helper()
	ctx := s.t.Context()
	body, err := newAdmin(s.Folder).ask(ctx, http.MethodGet, path)
	if err != nil {
		return 0, err.Error()
	}
	return http.StatusOK, body
}

// clusters are the names of those that Envoy has from files.
func (s *meshed) clusters() string {
	s.t.Helper()
	_, body := s.admin("/config_dump?resource=dynamic_active_clusters&mask=cluster.name")
	var names []string
	for line := range strings.Lines(body) {
		if _, name, ok := strings.Cut(line, `"name": "`); ok {
			names = append(names, strings.Trim(name, "\",\n"))
		}
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// TestGenerationsAreApplied one after the other, and taken away.
func TestGenerationsAreApplied(t *testing.T) {
	t.Parallel()
	s := startMeshed(t, nil)
	s.waitReady(t)
	if is := s.status(); is.State != lifecycle.MeshPassthrough || is.Running != nil {
		t.Errorf("without a generation: %+v", is)
	}
	for n := range int64(3) {
		g := numbered(n + 1)
		s.put(sealed(t, g))
		if is := s.await(g.Version, lifecycle.MeshApplied); is.Running == nil || is.Running.Version != g.Version {
			t.Errorf("running %+v", is.Running)
		}
		if _, body := s.admin("/config_dump?resource=dynamic_route_configs"); !strings.Contains(body, g.Clusters[0].Name) {
			t.Errorf("no route leads to %s", g.Clusters[0].Name)
		}
	}
	if kept, err := os.ReadFile(filepath.Join(s.Folder, lastGood)); err != nil || !strings.Contains(string(kept), "payments@3") {
		t.Errorf("kept: %v %s", err, kept)
	}
	// What nothing uses goes, what is in force stays.
	eventually(t, "old clusters are gone", func() (string, bool) { names := s.clusters(); return names, names == "payments@3" })
	_, metrics := s.get(t, "/metrics")
	for _, want := range []string{`pillion_proxy_generation_applied_total 3`, `pillion_proxy_generation_rejected_total 0`, `pillion_proxy_generation_pending 0`, `pillion_proxy_generation_info{version="` + s.status().Running.Version + `"} 1`} {
		if !strings.Contains(metrics, want) {
			t.Errorf("no %s in the metrics", want)
		}
	}
	s.removeGeneration()
	s.await("", lifecycle.MeshPassthrough)
	if _, body := s.admin("/config_dump?resource=dynamic_route_configs"); strings.Contains(body, "payments@") {
		t.Errorf("routes of a generation are left:\n%s", body)
	}
	if _, err := os.Stat(filepath.Join(s.Folder, lastGood)); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the last one would be resumed: %v", err)
	}
	eventually(t, "all clusters are gone", func() (string, bool) { names := s.clusters(); return names, names == "" })
}

func (s *meshed) removeGeneration() {
	s.t.Helper()
	if err := os.Remove(filepath.Join(s.MeshFolder, bootstrap.GenerationFile)); err != nil {
		s.t.Fatal(err)
	}
}

// broken are generations that must not come into force, and a part of the reason.
func broken(t *testing.T, running *bootstrap.Generation) map[string]struct {
	content []byte
	says    string
} {
	t.Helper()
	const isCluster = `{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "x@1", "type": "STATIC", `
	all := map[string]struct {
		content []byte
		says    string
	}{}
	for name, of := range map[string]struct {
		says   string
		change func(*bootstrap.Generation)
	}{
		"a cluster that Envoy refuses": {"Envoy rejected the clusters (CDS): Invalid duration: Expected positive duration: seconds: -5", func(g *bootstrap.Generation) {
			g.Clusters = append(g.Clusters, bootstrap.Cluster{Name: "x@1", Message: json.RawMessage(isCluster + `"connect_timeout": "-5s"}`)})
		}},
		"a field that Envoy does not know": {"no such field: 'connect_time'", func(g *bootstrap.Generation) {
			g.Clusters = append(g.Clusters, bootstrap.Cluster{Name: "x@1", Message: json.RawMessage(isCluster + `"connect_time": "5s"}`)})
		}},
		"a filter that Envoy does not have": {"Didn't find a registered implementation for 'nobody.knows'", func(g *bootstrap.Generation) {
			g.Inbound[0].HTTPFilters = []json.RawMessage{json.RawMessage(`{"name": "nobody.knows", "typed_config": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster"}}`)}
		}},
		"a filter that is wrong": {"Error adding/updating listener(s) inbound: : Proto constraint validation failed (LocalRateLimitValidationError.StatPrefix: value length must be at least 1 characters)", func(g *bootstrap.Generation) {
			g.Inbound[0].HTTPFilters = []json.RawMessage{json.RawMessage(`{"name": "envoy.filters.http.local_ratelimit", "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit"}}`)}
		}},
		"a route to a cluster that is not there": {"route: unknown cluster 'nothing'", func(g *bootstrap.Generation) { g.Outbound.VirtualHosts[0] = host("payments", "nothing") }},
		"a host twice": {"Only unique values for domains are permitted. Duplicate entry of domain payments.test", func(g *bootstrap.Generation) {
			g.Outbound.VirtualHosts = append(g.Outbound.VirtualHosts, g.Outbound.VirtualHosts[0])
		}},
		"a port that leads nowhere": {"the inbound port 8080 leads to the cluster inbound@1, which is not in it", func(g *bootstrap.Generation) { g.Inbound[0].Cluster = "inbound@1" }},
		"a connection that leads nowhere": {"the destination db leads to the cluster db@1, which is not in it", func(g *bootstrap.Generation) {
			g.Outbound.Connections = []bootstrap.Connection{{Name: "db", Port: 5432, Cluster: "db@1"}}
		}},
		"one listener right and one wrong": {"Error adding/updating listener(s) outbound: error adding listener", func(g *bootstrap.Generation) {
			g.Inbound[0].MaxConcurrentStreams = 9
			twice := bootstrap.Connection{Name: "db", Port: 5432, Cluster: g.Clusters[0].Name}
			g.Outbound.Connections = []bootstrap.Connection{twice, twice}
		}},
		"a port of Pillion's own":             {"the port 15006, which is no port of an app", func(g *bootstrap.Generation) { g.Inbound[0].Port = 15006 }},
		"another cluster under a name in use": {"has another cluster under the name payments@5 than the one in force", func(g *bootstrap.Generation) { g.Clusters = []bootstrap.Cluster{static("payments@5", 1)} }},
		"another service's":                   {"is not for this pod, which belongs to shop/checkout in shop", func(g *bootstrap.Generation) { g.Service = "shop/cart" }},
		"another namespace's":                 {"in namespace bank is not for this pod", func(g *bootstrap.Generation) { g.Namespace = "bank" }},
		"an older one":                        {"is older than the one in force, number 5", func(g *bootstrap.Generation) { g.Number = 4 }},
	} {
		g := *running
		g.Inbound = slices.Clone(g.Inbound)
		g.Outbound.VirtualHosts = slices.Clone(g.Outbound.VirtualHosts)
		g.Number++
		of.change(&g)
		all[name] = struct {
			content []byte
			says    string
		}{sealed(t, &g), of.says}
	}
	good := sealed(t, numbered(6))
	add := func(name, says string, content []byte) {
		all[name] = struct {
			content []byte
			says    string
		}{content, says}
	}
	add("one that was cut", "it was cut or changed on the way", good[:len(good)/2])
	add("one that was changed", "it was changed on the way", []byte(strings.Replace(string(good), "8006", "8007", 1)))
	add("an empty file", "reading a generation of 0 bytes", []byte{})
	return all
}

// TestBrokenGenerations: each is refused with its reason, and nothing of what Envoy does
// for connections has changed meanwhile.
func TestBrokenGenerations(t *testing.T) {
	t.Parallel()
	s := startMeshed(t, nil)
	s.waitReady(t)
	running := numbered(5)
	s.put(sealed(t, running))
	s.await(running.Version, lifecycle.MeshApplied)
	eventually(t, "only what is in force is there", func() (string, bool) { names := s.clusters(); return names, names == "payments@5" })
	before, count := s.led(), 0
	for name, of := range broken(t, running) {
		count++
		s.put(of.content)
		eventually(t, name+" is rejected", func() (string, bool) {
			is := s.status()
			return fmt.Sprintf("%+v", is), is.State == lifecycle.MeshRejected && strings.Contains(is.Reason, of.says) && is.Running.Version == running.Version
		})
		if _, metrics := s.get(t, "/metrics"); !strings.Contains(metrics, fmt.Sprintf("pillion_proxy_generation_rejected_total %d\n", count)) {
			t.Errorf("%s is not counted", name)
		}
	}
	// The trial's listeners come and go.
	trial := regexp.MustCompile(`(listener_added|listener_removed): \d+`)
	if diff := cmp.Diff(trial.ReplaceAllString(before, "$1"), trial.ReplaceAllString(s.led(), "$1")); diff != "" {
		t.Errorf("-before +after:\n%s", diff)
	}
	eventually(t, "nothing of them is left", func() (string, bool) { names := s.clusters(); return names, names == "payments@5" })
	next := numbered(6)
	s.put(sealed(t, next))
	s.await(next.Version, lifecycle.MeshApplied)
}

// TestResumes: a sidecar that is killed starts with what was in force, also where there
// is nothing in its folder yet; and a file that was damaged is no obstacle.
func TestResumes(t *testing.T) {
	t.Parallel()
	s := startMeshed(t, nil)
	s.waitReady(t)
	g := numbered(5)
	s.put(sealed(t, g))
	s.await(g.Version, lifecycle.MeshApplied)
	_ = s.cmd.Process.Kill()
	<-s.done
	again := start(t, s.pod, func(of *command) { of.Folder, of.MeshFolder, of.Namespace = s.Folder, s.MeshFolder, s.Namespace })
	s.process = again
	s.waitReady(t)
	if is := s.await(g.Version, lifecycle.MeshApplied); is.Running.Version != g.Version || !strings.Contains(s.logged(), "starting with generation "+g.Version) {
		t.Errorf("%+v\n%s", is, s.logged())
	}
	if _, body := s.admin("/stats?filter=cds.update_attempt"); body != "cluster_manager.cds.update_attempt: 1\n" {
		t.Errorf("it was not in force from the start: %s", body)
	}
	// One that changes only what is asked of a cluster that Envoy was started with.
	next := numbered(6)
	next.Clusters = append(next.Clusters, g.Clusters...)
	s.put(sealed(t, next))
	s.await(next.Version, lifecycle.MeshApplied)
	_ = s.cmd.Process.Kill()
	<-s.done
	if err := os.WriteFile(filepath.Join(s.Folder, lastGood), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.process = start(t, s.pod, func(of *command) { of.Folder, of.MeshFolder, of.Namespace = s.Folder, s.MeshFolder, s.Namespace })
	s.waitReady(t)
	s.await(next.Version, lifecycle.MeshApplied)
	if !strings.Contains(s.logged(), "what an earlier container had in force is lost") {
		t.Error("it says nothing of a file that was damaged")
	}
}

// TestLongestWait: what is under way nowhere for a while, since it waits for a connection
// or for an attempt to fail, still needs its cluster afterwards.
func TestLongestWait(t *testing.T) {
	g := numbered(1)
	m := &applier{}
	m.retire(g.Clusters, g)
	if m.retired[0].looks != fewestLooks {
		t.Errorf("a generation that waits for 5 s is looked at %d times", m.retired[0].looks)
	}
	g.Outbound.VirtualHosts = append(g.Outbound.VirtualHosts, json.RawMessage(`{"routes": [{"route": {"retry_policy": {"per_try_timeout":"29.500s"}}}]}`), host("users", "users@1"),
		json.RawMessage(`{"routes": [{"route": {"retry_policy": {"per_try_timeout":"1s"}}}]}`))
	m.retire(g.Clusters, g)
	if time.Duration(m.retired[1].looks)*useEvery < 29500*time.Millisecond {
		t.Errorf("one that waits for 29.5 s is looked at %d times, every %s", m.retired[1].looks, useEvery)
	}
	m.retire(g.Clusters, nil)
	if m.retired[2].looks != 0 {
		t.Errorf("what nothing ever led to is looked at %d times", m.retired[2].looks)
	}
}

// TestRetiredWhileChainsDrain: what a filter chain leads to stays while its connections
// drain, and what only routes lead to does not.
func TestRetiredWhileChainsDrain(t *testing.T) {
	g := withDatabase(numbered(1), "5s")
	m := &applier{config: bootstrap.Config{DrainTime: 45 * time.Second}}
	m.retire(g.Clusters, g)
	if payments, db := m.retired[0], m.retired[1]; payments.looks != fewestLooks || time.Duration(db.looks-1)*useEvery < 45*time.Second {
		t.Errorf("with a drain of 45 s, %s is looked at %d times and %s %d times, every %s", payments.Name, payments.looks, db.Name, db.looks, useEvery)
	}
	m = &applier{config: bootstrap.Config{DrainTime: time.Second}}
	m.retire(g.Clusters, g)
	if db := m.retired[1]; db.looks != fewestLooks {
		t.Errorf("with a drain of 1 s, %s is looked at %d times, want %d", db.Name, db.looks, fewestLooks)
	}
}
