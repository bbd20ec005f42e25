package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/pillion-mesh/pillion/bootstrap"
)

// retired is a cluster that nothing leads to any more, and that requests or connections
// may still be under way to.
type retired struct {
	bootstrap.Cluster
	// quiet is on how many looks in a row nothing was.
	quiet int
}

const (
	// useEvery is how often the use of retired clusters is looked at, and quietLooks how
	// many of them have to find none: a request between two attempts is under way
	// nowhere.
	useEvery   = 2 * time.Second
	quietLooks = 5
)

// retire notes clusters that nothing leads to. Those that nothing ever led to need no
// looking at.
func (m *applier) retire(clusters []bootstrap.Cluster, unused bool) {
	for _, of := range clusters {
		r := retired{Cluster: of}
		if unused {
			r.quiet = quietLooks
		}
		m.retired = append(m.retired, r)
	}
}

// mostNamed is how many clusters Envoy is asked for by name. The list of all is some
// kilobytes for each.
const mostNamed = 100

// clusterUse is how many hosts a cluster has, and how many requests or connections are
// under way to them.
type clusterUse struct{ hosts, active int }

// clusterUse is about those clusters of a list that Envoy has put into service.
func (a *admin) clusterUse(ctx context.Context, of []bootstrap.Cluster) (map[string]clusterUse, error) {
	path := "/clusters?format=json"
	if len(of) <= mostNamed {
		var names []string
		for _, c := range of {
			names = append(names, strings.ReplaceAll(c.Name, ".", `\.`))
		}
		path += "&filter=" + url.QueryEscape("^("+strings.Join(names, "|")+")$")
	}
	body, err := a.ask(ctx, http.MethodGet, path)
	if err != nil {
		return nil, err
	}
	var answer struct {
		Clusters []struct {
			Name  string `json:"name"`
			Hosts []struct {
				Stats []struct {
					Name string `json:"name"`
					// A number of 64 bits is a string in protobuf's JSON.
					Value string `json:"value"`
				} `json:"stats"`
			} `json:"host_statuses"`
		} `json:"cluster_statuses"`
	}
	if err := json.Unmarshal([]byte(body), &answer); err != nil {
		return nil, fmt.Errorf("reading Envoy's list of clusters: %w", err)
	}
	all := map[string]clusterUse{}
	for _, c := range answer.Clusters {
		use := clusterUse{hosts: len(c.Hosts)}
		for _, host := range c.Hosts {
			for _, stat := range host.Stats {
				if stat.Name == "rq_active" {
					n, _ := strconv.Atoi(stat.Value)
					use.active += n
				}
			}
		}
		all[c.Name] = use
	}
	return all, nil
}

// dismiss takes retired clusters away from Envoy once nothing uses them.
func (m *applier) dismiss(ctx context.Context) {
	if len(m.retired) == 0 || time.Since(m.lookedAtUse) < useEvery {
		return
	}
	m.lookedAtUse = time.Now()
	use, err := m.admin.clusterUse(ctx, m.present()[len(m.clusters):])
	if err != nil {
		return // the next look may succeed
	}
	for n := range m.retired {
		if r := &m.retired[n]; use[r.Name].active > 0 {
			r.quiet = 0
		} else {
			r.quiet++
		}
	}
	stay := slices.DeleteFunc(slices.Clone(m.retired), func(r retired) bool { return r.quiet >= quietLooks })
	if len(stay) == len(m.retired) {
		return
	}
	m.retired = stay
	version := m.config.Version()
	if err := m.push(ctx, version, clustersUpdate(bootstrap.NewClusters(version, m.present()))); isFinal(err) {
		m.sidecar.say("taking away clusters that nothing uses: %v", err)
	}
}
