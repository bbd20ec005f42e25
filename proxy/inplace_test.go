package proxy

import (
	"encoding/json"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// withDatabase has two destinations of bytes, which filter chains lead to.
func withDatabase(g *bootstrap.Generation, connectTimeout string) *bootstrap.Generation {
	g.Clusters = slices.Clone(g.Clusters)
	g.Outbound.Connections = nil
	for n, name := range []string{"db", "queue"} {
		g.Clusters = append(g.Clusters, bootstrap.Cluster{Name: name, Message: json.RawMessage(fmt.Sprintf(
			`{"@type": "type.googleapis.com/envoy.config.cluster.v3.Cluster", "name": %q, "alt_stat_name": %[1]q, "type": "ORIGINAL_DST", "lb_policy": "CLUSTER_PROVIDED", "connect_timeout": %q}`, name, connectTimeout))})
		g.Outbound.Connections = append(g.Outbound.Connections, bootstrap.Connection{Name: name, Port: uint16(5432 + n), Cluster: name})
	}
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
	eventually(t, "what it was tried as is gone", func() (string, bool) { names := s.clusters(); return names, names == "db payments@1 queue" })

	for name, of := range map[string]struct {
		says   string
		change func(*bootstrap.Generation)
	}{
		"the file of clusters": {"Invalid duration: Expected positive duration", func(g *bootstrap.Generation) {
			g.Clusters[1].Message = json.RawMessage(strings.Replace(string(g.Clusters[1].Message), "9s", "-9s", 1))
		}},
		// Envoy would take the other one.
		"one of the clusters": {"LB policy", func(g *bootstrap.Generation) {
			g.Clusters[1].Message = json.RawMessage(strings.Replace(string(g.Clusters[1].Message), "CLUSTER_PROVIDED", "ROUND_ROBIN", 1))
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
