package dataplane

import (
	"encoding/json"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// mistake turns a generation into one that must not come into force, and says a part of
// the reason. The first is the one that is in force.
type mistake func(running, g *bootstrap.Generation) (says string)

func mistakes() map[string]mistake {
	vhost := func(cluster string) json.RawMessage {
		return json.RawMessage(`{"name": "more", "domains": ["more.test"], "routes": [{"match": {"prefix": ""}, "route": {"cluster": "` + cluster + `"}}]}`)
	}
	return map[string]mistake{
		"an unknown cluster": func(_, g *bootstrap.Generation) string {
			g.Outbound.VirtualHosts = append(g.Outbound.VirtualHosts, vhost("nobody@1"))
			return "unknown cluster 'nobody@1'"
		},
		"a bad filter": func(_, g *bootstrap.Generation) string {
			g.Inbound = append(g.Inbound, bootstrap.InboundPort{Port: 7777, HTTPFilters: []json.RawMessage{json.RawMessage(`{"name": "bad", "typed_config": {"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster"}}`)}})
			return "Didn't find a registered implementation for 'bad'"
		},
		"a bad cluster": func(_, g *bootstrap.Generation) string {
			g.Clusters = append(g.Clusters, bootstrap.Cluster{Name: "bad@1", Message: json.RawMessage(`{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "bad@1", "type": "EDS"}`)})
			return "Envoy rejected the clusters (CDS)"
		},
		"another content under a name in use": func(running, g *bootstrap.Generation) string {
			g.Clusters = slices.Clone(running.Clusters)
			n := slices.IndexFunc(g.Clusters, func(c bootstrap.Cluster) bool { return !c.ChangesInPlace() })
			g.Clusters[n].Message = json.RawMessage(`{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": "` + g.Clusters[n].Name + `", "type": "STATIC"}`)
			g.Inbound, g.Outbound = running.Inbound, running.Outbound
			return "has another cluster under the name"
		},
		"an older number": func(running, g *bootstrap.Generation) string {
			g.Number = running.Number - 1
			return "is older than the one in force"
		},
		"an older MeshService": func(_, g *bootstrap.Generation) string {
			g.Created--
			return "is older than the one in force"
		},
		"another service": func(_, g *bootstrap.Generation) string {
			g.Service = "cart"
			return "is not for this pod"
		},
		"another namespace": func(_, g *bootstrap.Generation) string {
			g.Namespace = "bank"
			return "is not for this pod"
		},
	}
}

// damages are what may have become of a file with a generation.
func damages() map[string]func(file string) string {
	return map[string]func(string) string{
		"a cut file":      func(file string) string { return file[:len(file)-100] },
		"a changed file":  func(file string) string { return strings.Replace(file, `"service":"shop"`, `"service":"shpo"`, 1) },
		"another version": func(file string) string { return strings.Replace(file, `"version":"`, `"version":"0`, 1) },
		"an empty file":   func(string) string { return "" },
	}
}

// broken are the names of all mistakes and damages.
func broken() []string {
	return slices.Concat(slices.Sorted(maps.Keys(mistakes())), slices.Sorted(maps.Keys(damages())))
}

// TestBrokenChanges: what is wrong is refused with its reason between changes that are
// right, and no request notices either.
func TestBrokenChanges(t *testing.T) {
	t.Parallel()
	s := newShop(t, want{})
	s.dns.Slow(200 * time.Millisecond)
	of := newChanges(t, 0)
	s.applyFirst(of)
	s.expectNone(s.underCalls(func() {
		for _, name := range broken() {
			running := of.next(t)
			s.apply(running)
			s.await(running.Version)
			s.isRefused(of, name, running)
		}
	}))
}

// isRefused changes the document to a broken one, which does not come into force.
func (s *shop) isRefused(of *changes, name string, running *bootstrap.Generation) {
	s.t.Helper()
	g := of.next(s.t)
	says := "reading a generation"
	if mistake, ok := mistakes()[name]; ok {
		says = mistake(running, g)
	}
	file, err := g.Seal()
	if err != nil {
		s.t.Fatal(err)
	}
	if damage, ok := damages()[name]; ok {
		file = []byte(damage(string(file)))
	}
	s.put(file)
	s.awaitRejected(name, says, running)
}

func (s *shop) awaitRejected(name, says string, running *bootstrap.Generation) {
	s.t.Helper()
	var is lifecycle.MeshStatus
	sandbox.Eventually(s.t, name+" is rejected", time.Minute, func() bool {
		is = s.status()
		return is.State == lifecycle.MeshRejected && strings.Contains(is.Reason, says)
	})
	if is.Running == nil || is.Running.Version != running.Version {
		s.t.Errorf("%s: running %+v, want %s", name, is.Running, running.Version)
	}
}

// order writes a generation's files for Envoy without pillion-proxy.
type order func(write func(...bootstrap.File), clusters bootstrap.File, rest []bootstrap.File)

// TestChangesInTheWrongOrder are the controls: the same load notices when the order is
// another, and when nothing is waited for.
func TestChangesInTheWrongOrder(t *testing.T) {
	t.Parallel()
	for name, in := range map[string]order{
		"clusters last": func(write func(...bootstrap.File), clusters bootstrap.File, rest []bootstrap.File) {
			write(rest...)
			write(clusters)
		},
		"clusters first, and no wait": func(write func(...bootstrap.File), clusters bootstrap.File, rest []bootstrap.File) {
			write(clusters)
			time.Sleep(50 * time.Millisecond) // so that Envoy reads them first
			write(rest...)
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, of := newShop(t, want{}), &changes{dice: rand.New(rand.NewPCG(1, 3))}
			// In the right order, so that routes lead to a cluster that goes with the next change.
			first := of.calling(t, nil, payments(hostOf("payments")))
			s.apply(first)
			s.await(first.Version)
			s.dns.Slow(time.Second)
			made, failures := s.underCalls(func() {
				for range 8 {
					g := of.next(t)
					if _, err := g.Seal(); err != nil {
						t.Fatal(err)
					}
					clusters, rest := s.files(g)
					in(s.write, clusters, rest)
					time.Sleep(2 * time.Second)
				}
			})
			rejected := s.rejected()
			t.Logf("%d of %d requests failed, Envoy did not take %d updates", len(failures), made, rejected)
			if len(failures) == 0 {
				t.Error("the load notices nothing")
			}
		})
	}
}

// files are those that lead the pod's Envoy to a generation.
func (s *shop) files(g *bootstrap.Generation) (clusters bootstrap.File, rest []bootstrap.File) {
	s.t.Helper()
	run, err := lifecycle.ParseRun(s.pod.Sidecar().Args[1:])
	if err != nil {
		s.t.Fatal(err)
	}
	for _, file := range bootstrap.New(bootstrap.Config{
		Service: run.Service, Folder: lifecycle.RunDir, InboundPort: run.InboundPort, OutboundPort: run.OutboundPort, IPv4: true, IPv6: run.IPv6,
		UpstreamAge: run.UpstreamAge, UpstreamIdle: run.UpstreamIdle, DownstreamAge: run.DownstreamAge, DrainTime: run.DrainTime, Generation: g,
	}) {
		switch file.Name {
		case bootstrap.ClustersFile:
			clusters = bootstrap.File{Name: file.Name, Content: bootstrap.NewClusters(g.Version, g.Clusters)}
		case bootstrap.BootstrapFile:
		default:
			rest = append(rest, file)
		}
	}
	return clusters, rest
}

func (s *shop) write(files ...bootstrap.File) {
	s.t.Helper()
	for _, file := range files {
		path := filepath.Join(s.pod.Volumes[injector.RunVolume], file.Name)
		if err := os.WriteFile(path+".new", file.Content, 0o644); err != nil {
			s.t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			s.t.Fatal(err)
		}
	}
}
