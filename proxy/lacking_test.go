package proxy

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// answering is an Envoy with so many hosts of each cluster, or requests under way to one
// host, and so many answers of DNS for each destination.
func answering(hosts, active, answers *map[string]int) func(http.ResponseWriter, *http.Request) bool {
	return func(out http.ResponseWriter, r *http.Request) bool {
		switch {
		case r.URL.Path == "/clusters":
			var all []string
			for name, n := range *hosts {
				host := fmt.Sprintf(`{"stats": [{"name": "cx_active", "value": "1"}, {"name": "rq_active", "value": "%d"}]}`, (*active)[name])
				all = append(all, fmt.Sprintf(`{"name": %q, "host_statuses": [%s]}`, name, strings.TrimSuffix(strings.Repeat(host+",", n), ",")))
			}
			_, _ = fmt.Fprintf(out, `{"cluster_statuses": [%s]}`, strings.Join(all, ","))
		case strings.Contains(r.URL.RawQuery, "update_success") && strings.Contains(r.URL.RawQuery, "cluster"):
			for name, n := range *answers {
				_, _ = fmt.Fprintf(out, "cluster.%s.update_success: %d\n", name, n)
			}
		default:
			return false
		}
		return true
	}
}

// TestLacking: what is said of a destination that is wanted, by what Envoy has of it, of what
// it comes in the place of, and of what that came in the place of.
func TestLacking(t *testing.T) {
	t.Parallel()
	var hosts, active, answers map[string]int
	m := behind(t, nil, answering(&hosts, &active, &answers))
	wanted := static("payments@2", 2)
	bytes := withDatabase(&bootstrap.Generation{}, "5s").Clusters[0]
	is := func(clusters ...bootstrap.Cluster) []bootstrap.Cluster { return clusters }
	for name, test := range map[string]struct {
		hosts         map[string]int
		has, retired  []bootstrap.Cluster
		added         []bootstrap.Cluster
		asked         int
		alone         bool
		why           string
		absent, fails bool
		askedNow      int
	}{
		"not in service": {nil, nil, nil, is(wanted), 1, true, "DNS has not answered for the destination payments yet", false, false, 1},
		"addresses":      {map[string]int{"payments@2": 1}, nil, nil, is(wanted), 1, true, "", false, false, 1},
		"bytes":          {map[string]int{"db": 0}, nil, nil, is(bytes), 1, true, "", false, false, 1},
		"it worked": {map[string]int{"payments@1": 1, "payments@2": 0}, is(static("payments@1", 1)), nil, is(wanted), 0, true,
			"DNS has no address for the destination payments as it is wanted now, and has one as it was before", false, false, 0},
		"it did not work": {map[string]int{"payments@1": 0, "payments@2": 0}, is(static("payments@1", 1)), nil, is(wanted), 1, true,
			"DNS has no address for the destination payments, as it is in force or as it is wanted now", true, false, 1},
		"another one works":                    {map[string]int{"users@1": 1, "payments@2": 0}, is(static("users@1", 1)), nil, is(wanted), 0, true, "DNS has no address for the destination payments", true, false, 0},
		"it is in force":                       {map[string]int{"payments@2": 0}, is(wanted), nil, is(wanted), 1, true, "DNS fails for the destination payments: nobody knows whether it has an address", false, true, 1},
		"DNS says that there is none":          {map[string]int{"payments@2": 0}, nil, nil, is(wanted), 0, true, "DNS has no address for the destination payments", true, false, 0},
		"DNS fails":                            {map[string]int{"payments@2": 0}, nil, nil, is(wanted), 1, true, "DNS fails for the destination payments: nobody knows whether it has an address", false, true, 1},
		"an earlier one asks":                  {map[string]int{"payments@2": 0}, nil, is(static("payments@0", 0)), is(wanted), 0, true, "DNS has no address for the destination payments, or fails: that is not clear while requests to what it was before are under way", false, false, unknown},
		"an earlier one asks, for long":        {map[string]int{"payments@2": 0}, nil, is(static("payments@0", 0)), is(wanted), 0, false, "DNS has no address for the destination payments", true, false, 0},
		"it was added and is among the others": {map[string]int{"payments@2": 0}, nil, is(wanted), is(wanted), 0, true, "DNS has no address for the destination payments", true, false, 0},
		"an earlier one has asked":             {map[string]int{"payments@2": 0}, nil, nil, is(wanted), unknown, true, "DNS has not answered for the destination payments yet, as it is wanted now", false, false, 1},
		"bytes were there before":              {map[string]int{"payments@2": 0}, is(bootstrap.Cluster{Name: "payments", Message: bytes.Message}), nil, is(wanted), 1, true, "DNS fails for the destination payments: nobody knows whether it has an address", false, true, 1},
		"one is absent and one worked": {map[string]int{"payments@1": 1, "payments@2": 0, "users@2": 0}, is(static("payments@1", 1)), nil, is(wanted, static("users@2", 2)), 0, true,
			"DNS has no address for the destination payments as it is wanted now, and has one as it was before", false, false, 0},
	} {
		hosts, answers = test.hosts, map[string]int{"payments": 1, "users": 1}
		m.clusters, m.retired = test.has, nil
		m.retire(test.retired, nil)
		asked := map[string]int{"payments": test.asked, "users": 0}
		got, err := m.lacking(t.Context(), test.added, asked, test.alone)
		if err != nil || got.why != test.why || got.absent != test.absent || got.failed != test.fails || asked["payments"] != test.askedNow {
			t.Errorf("%s: %+v, %v, and DNS had answered %d times; want %q", name, got, err, asked["payments"], test.why)
		}
	}
}

// TestAddressesAreAwaited: an Envoy that does not answer says nothing, and while something is
// waited for what nobody uses goes, which may be what it is waited for.
func TestAddressesAreAwaited(t *testing.T) {
	t.Parallel()
	hosts, none, answers := map[string]int{"payments@2": 0, "payments@0": 1}, map[string]int{}, map[string]int{"payments": 3}
	envoy, looks := answering(&hosts, &none, &answers), 0
	m := behind(t, nil, func(out http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/clusters" {
			if looks++; looks < 3 {
				http.Error(out, "not now", http.StatusServiceUnavailable)
				return true
			}
			answers["payments"]++
		}
		return envoy(out, r)
	})
	added := []bootstrap.Cluster{static("payments@2", 2)}
	asked, err := m.askedFor(t.Context(), added)
	if err != nil || asked["payments"] != 3 {
		t.Errorf("DNS had answered %v times, %v; want 3", asked, err)
	}
	m.retired = []retired{{Cluster: static("payments@0", 0), looks: 1}}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := m.awaitAddresses(ctx, added, asked); err != nil || looks < 3 || len(m.retired) > 0 {
		t.Errorf("after %d looks it is waited for no more, with %v beside it: %v", looks, m.retired, err)
	}
}

// TestDismiss: a retired cluster goes after so many looks in a row that found nothing under
// way, and not while it is being added.
func TestDismiss(t *testing.T) {
	t.Parallel()
	hosts, active, answers := map[string]int{"payments@0": 1, "users@0": 2}, map[string]int{}, map[string]int{}
	m := behind(t, numbered(1), answering(&hosts, &active, &answers))
	m.retired = []retired{{Cluster: static("payments@0", 0), looks: 3}, {Cluster: static("users@0", 0), looks: 3}}
	look := func(under int, added ...bootstrap.Cluster) int {
		active["payments@0"], active["users@0"], m.lookedAtUse = under, under, time.Time{}
		m.dismiss(t.Context(), added)
		return len(m.retired)
	}
	for n, under := range []int{0, 0, 1, 0, 0} {
		if look(under) != 2 {
			t.Fatalf("%d are left after look %d", len(m.retired), n)
		}
	}
	if look(0, m.retired[0].Cluster) != 1 || m.retired[0].Name != "payments@0" {
		t.Fatalf("left are %+v, want the one that is being added", m.retired)
	}
	if look(0) != 0 {
		t.Error("it is there though nothing was under way three times")
	}
	content, err := os.ReadFile(filepath.Join(m.sidecar.Folder, bootstrap.ClustersFile))
	if err != nil || strings.Contains(string(content), "payments@0") || !strings.Contains(string(content), "payments@1") {
		t.Errorf("Envoy has %s, %v", content, err)
	}
}

// TestKeep: what is in force is kept once, and that it cannot be is said where nothing says
// more.
func TestKeep(t *testing.T) {
	t.Parallel()
	g := numbered(1)
	sealed(t, g)
	m := behind(t, g, func(http.ResponseWriter, *http.Request) bool { return false })
	path := filepath.Join(m.sidecar.Folder, lastGood)
	keep := func(state lifecycle.MeshState, reason string) string {
		m.kept, m.triedKeeping = false, time.Time{}
		m.change(func(s *lifecycle.MeshStatus) { s.State, s.Reason = state, reason })
		m.keep()
		return m.state().status.Reason
	}
	if reason := keep(lifecycle.MeshApplied, ""); reason != "" || !m.kept {
		t.Errorf("kept %t, and it says %q", m.kept, reason)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	m.triedKeeping = time.Time{}
	if m.keep(); !m.kept {
		t.Error("it forgets that it is kept")
	}
	if _, err := os.Stat(path); err == nil {
		t.Error("what is kept is written again and again")
	}
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	const says = "a container that is killed would not start with it"
	if reason := keep(lifecycle.MeshApplied, ""); m.kept || !strings.Contains(reason, says) {
		t.Errorf("kept %t, and it says %q", m.kept, reason)
	}
	if reason := keep(lifecycle.MeshRejected, "Envoy refuses it"); m.kept || reason != "Envoy refuses it" {
		t.Errorf("in the place of why something was rejected it says %q", reason)
	}
	m.config.Generation = nil
	if reason := keep(lifecycle.MeshPassthrough, ""); m.kept || !strings.Contains(reason, says) {
		t.Errorf("of the passthrough: kept %t, and it says %q", m.kept, reason)
	}
}

// TestLockIsLeftToDrain: a pod that drains gets no change, and `drain` the lock.
func TestLockIsLeftToDrain(t *testing.T) {
	t.Parallel()
	m := behind(t, numbered(1), func(http.ResponseWriter, *http.Request) bool { return false })
	if err := os.WriteFile(filepath.Join(m.sidecar.Folder, draining), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m.want(numbered(2))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan error)
	go func() {
		_, err := m.lock(ctx)
		ended <- err
	}()
	eventually(t, "it says that the pod drains", func() (string, bool) {
		is := m.state().status.Reason
		return is, is == whileDraining
	})
	eventually(t, "the lock is free", func() (string, bool) {
		unlock, err := lockFolder(m.sidecar.Folder)
		if err == nil {
			unlock()
		}
		return fmt.Sprint(err), err == nil
	})
	cancel()
	if err := <-ended; err == nil {
		t.Error("it has the lock")
	}
}

// TestStatisticsOfWhatIsInForce are those that are passed on, from the start on.
func TestStatisticsOfWhatIsInForce(t *testing.T) {
	t.Parallel()
	g := numbered(1)
	g.Statistics = bootstrap.Statistics{Destinations: bootstrap.StatisticsDetailed, MaxSeries: 500}
	m := behind(t, g, func(http.ResponseWriter, *http.Request) bool { return false })
	if got := m.state().keeps; got != g.Statistics {
		t.Errorf("at the start it is %+v", got)
	}
	m.config.Generation = nil
	if m.inForce(); m.state().keeps != (bootstrap.Statistics{}) {
		t.Errorf("of the passthrough it is %+v", m.state().keeps)
	}
	m.config.Generation = g
	if m.inForce(); m.state().keeps != g.Statistics {
		t.Errorf("it is %+v", m.state().keeps)
	}
}
