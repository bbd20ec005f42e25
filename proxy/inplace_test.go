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

	// One that nothing leads to any more and that still serves, as its connections have not
	// ended, is led to again as it is wanted now.
	gone := numbered(4)
	apply(gone)
	apply(withDatabase(numbered(5), "8s"))
	s.databaseHas("8s")
}
