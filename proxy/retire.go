package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
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
	// quiet is on how many looks in a row nothing was, and looks how many have to find none.
	quiet, looks int
}

const (
	// useEvery is how often the use of retired clusters is looked at, and fewestLooks how
	// many of them have to find none at least.
	useEvery    = 2 * time.Second
	fewestLooks = 5
)

// retire notes clusters that nothing leads to any more, but what a generation had under
// way when it went out of force; nil for clusters that nothing ever led to, which need no
// looking at. Those that filter chains lead to stay while connections of these drain: they
// keep the routes that they began with, and an idle one asks for something at the last moment.
func (m *applier) retire(clusters []bootstrap.Cluster, of *bootstrap.Generation) {
	idle, draining := 0, 0
	if of != nil {
		idle = max(fewestLooks, int(longestWait(of)/useEvery)+1)
		// One more, since the first look may come at once.
		draining = max(idle, int(m.config.DrainTime/useEvery)+2)
	}
	for _, c := range clusters {
		looks := idle
		if c.ChangesInPlace() {
			looks = draining
		}
		m.retired = append(m.retired, retired{Cluster: c, looks: looks})
	}
}

// waits are those that a request can be in without being under way to a host: it waits
// for a connection, or for an attempt at another cluster to fail.
const waits = `"(?:connect_timeout|per_try_timeout)" *: *"([0-9.]+s)"`

// longestWait of a generation's requests.
func longestWait(g *bootstrap.Generation) (longest time.Duration) {
	pattern := regexp.MustCompile(waits)
	look := func(message json.RawMessage) {
		for _, found := range pattern.FindAllSubmatch(message, -1) {
			if wait, err := time.ParseDuration(string(found[1])); err == nil {
				longest = max(longest, wait)
			}
		}
	}
	for _, c := range g.Clusters {
		look(c.Message)
	}
	for _, host := range g.Outbound.VirtualHosts {
		look(host)
	}
	return longest
}

// mostNamed is how many clusters Envoy is asked for at once, by name: its answer has some
// kilobytes for each cluster and each of its hosts.
const mostNamed = 100

// clusterUse is how many hosts a cluster has, and how many requests or connections are
// under way to them.
type clusterUse struct{ hosts, active int }

// clusterUse is about those clusters of a list that Envoy has put into service.
func (a *admin) clusterUse(ctx context.Context, of []bootstrap.Cluster) (map[string]clusterUse, error) {
	all := map[string]clusterUse{}
	for some := range slices.Chunk(of, mostNamed) {
		var names []string
		for _, c := range some {
			names = append(names, c.Name)
		}
		if err := a.addClusterUse(ctx, "^("+strings.Join(names, "|")+")$", all); err != nil {
			return nil, err
		}
	}
	return all, nil
}

// clusterStatus is what Envoy says of a cluster.
type clusterStatus struct {
	Name  string `json:"name"`
	Hosts []struct {
		Stats []struct {
			Name string `json:"name"`
			// A number of 64 bits is a string in protobuf's JSON.
			Value string `json:"value"`
		} `json:"stats"`
	} `json:"host_statuses"`
}

func (c clusterStatus) use() clusterUse {
	use := clusterUse{hosts: len(c.Hosts)}
	for _, host := range c.Hosts {
		for _, stat := range host.Stats {
			if stat.Name == "rq_active" {
				n, _ := strconv.Atoi(stat.Value)
				use.active += n
			}
		}
	}
	return use
}

// addClusterUse reads one cluster after the other, since all together may be larger than
// this program.
func (a *admin) addClusterUse(ctx context.Context, filter string, to map[string]clusterUse) error {
	ctx, cancel := context.WithTimeout(ctx, scrapeTime)
	defer cancel()
	response, err := a.open(ctx, http.MethodGet, "/clusters?format=json&filter="+url.QueryEscape(filter))
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return &refusal{path: "/clusters", status: response.StatusCode}
	}
	decoder := json.NewDecoder(response.Body)
	for {
		token, err := decoder.Token()
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading Envoy's list of clusters: %w", err)
		case token != json.Delim('['):
			continue // on the way to the list, or behind it
		}
		for decoder.More() {
			var c clusterStatus
			if err := decoder.Decode(&c); err != nil {
				return fmt.Errorf("reading Envoy's list of clusters: %w", err)
			}
			to[c.Name] = c.use()
		}
	}
}

// dismiss takes retired clusters away from Envoy once nothing uses them, but for those that
// are being added.
func (m *applier) dismiss(ctx context.Context, added []bootstrap.Cluster) {
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
	stay := slices.DeleteFunc(slices.Clone(m.retired), func(r retired) bool { return r.quiet >= r.looks && indexOf(added, r.Name) < 0 })
	if len(stay) == len(m.retired) {
		return
	}
	m.retired = stay
	version := m.config.Version()
	if err := m.push(ctx, version, clustersUpdate(bootstrap.NewClusters(version, m.present()))); isFinal(err) {
		m.sidecar.say("taking away clusters that nothing uses: %v", err)
	}
}
