package proxy

import (
	"context"
	"fmt"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// How the commands behave in a pod with a real Envoy, e2e/dataplane tests. Here is what
// a real Envoy cannot be brought to.

// fakeAdmin answers on a folder's admin socket.
func fakeAdmin(t *testing.T, answers map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(folder, bootstrap.AdminSocket))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer, ok := answers[r.URL.Path]
		if !ok {
			http.Error(w, "no", http.StatusForbidden)
			return
		}
		code := http.StatusOK
		if text, unready := strings.CutPrefix(answer, "503 "); unready {
			answer, code = text, http.StatusServiceUnavailable
		}
		w.WriteHeader(code)
		_, _ = fmt.Fprint(w, answer)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	return folder
}

const (
	allLoaded = "listener_manager.workers_started: 1\ncluster_manager.cds.update_success: 1\nlistener_manager.lds.update_success: 1\n" +
		"http.inbound_http.rds.inbound.update_success: 1\nhttp.outbound_http.rds.outbound.update_success: 2\nhttp.outbound_http.rds.outbound.update_rejected: 1\n"
	bothListeners = `{"listener_statuses": [{"name": "inbound"}, {"name": "outbound"}, {"name": "more"}]}`
)

// TestMissing names each part that keeps Envoy from serving, and nothing else.
func TestMissing(t *testing.T) {
	for name, test := range map[string]struct {
		ready, stats, listeners string
		want                    []string
	}{
		"it serves":               {"LIVE\n", allLoaded, bothListeners, nil},
		"not live":                {"503 INITIALIZING\n", allLoaded, bothListeners, []string{"Envoy is not live yet: INITIALIZING"}},
		"live without a listener": {"LIVE\n", allLoaded, `{}`, []string{"the listener inbound is not active", "the listener outbound is not active"}},
		"one listener":            {"LIVE\n", allLoaded, `{"listener_statuses": [{"name": "inbound"}]}`, []string{"the listener outbound is not active"}},
		"clusters were rejected": {
			"LIVE\n", strings.Replace(allLoaded, "cds.update_success: 1", "cds.update_success: 0\ncluster_manager.cds.update_rejected: 3", 1), bothListeners,
			[]string{"the clusters (CDS) are not loaded: Envoy rejected them 3 times, and its log says why"},
		},
		"no workers": {
			"LIVE\n", strings.Replace(allLoaded, "workers_started: 1", "workers_started: 0", 1), bothListeners,
			[]string{"Envoy's worker threads have not started"},
		},
		"no routes": {
			"LIVE\n", strings.Replace(allLoaded, "rds.inbound.update_success: 1", "rds.inbound.update_success: 0", 1), bothListeners,
			[]string{"the routes of the listener inbound (RDS) are not loaded"},
		},
		"listeners are no JSON": {"LIVE\n", allLoaded, "<html>", []string{"reading Envoy's list of listeners: invalid character '<' looking for beginning of value"}},
	} {
		folder := fakeAdmin(t, map[string]string{"/ready": test.ready, "/stats": test.stats, "/listeners": test.listeners})
		got := newAdmin(folder).missing(t.Context())
		if strings.Join(got, "|") != strings.Join(test.want, "|") {
			t.Errorf("%s: %q, want %q", name, got, test.want)
		}
	}
	got := newAdmin(t.TempDir()).missing(t.Context())
	if len(got) != 1 || !strings.HasPrefix(got[0], "the admin interface of Envoy does not answer: dial unix") {
		t.Errorf("no Envoy: %q", got)
	}
	got = newAdmin(fakeAdmin(t, nil)).missing(t.Context())
	if want := "the admin interface of Envoy answered /ready with HTTP 403: no"; len(got) == 0 || !strings.Contains(strings.Join(got, "|"), "HTTP 403: no") {
		t.Errorf("it refuses: %q, want something like %q", got, want)
	}
}

// TestFilter passes on what is kept, whole lines, and no more series of destinations
// than it may; what is behind them is there all the same.
func TestFilter(t *testing.T) {
	const (
		requests = "# TYPE envoy_cluster_upstream_rq counter\nenvoy_cluster_upstream_rq{envoy_cluster_name=\"a\"} 5\n"
		second   = "envoy_cluster_upstream_rq{envoy_cluster_name=\"b\"} 6\n"
		last     = "# TYPE envoy_server_live gauge\nenvoy_server_live{} 1\n"
		envoys   = requests + second + "\n# TYPE envoy_workers gauge\nenvoy_workers{} 4\n" + last
	)
	for most, want := range map[int]struct {
		text string
		left int
	}{0: {requests + second + last, 0}, 2: {requests + second + last, 0}, 1: {requests + last, 1}} {
		var out strings.Builder
		left, err := filter(strings.NewReader(envoys), &out, bootstrap.Statistics{MaxSeries: most})
		if err != nil || left != want.left || out.String() != want.text {
			t.Errorf("at most %d series: %d, %v\n%s", most, left, err, out.String())
		}
	}
	var out strings.Builder
	if _, err := filter(strings.NewReader("envoy_server_live"+strings.Repeat("x", longestLine)), &out, bootstrap.Statistics{}); err == nil {
		t.Error("a line without an end was taken")
	}
}

// TestFilterOfDestinations: how much of a destination is passed on is for its
// MeshService to say; the pod's own ports and the passthrough are always there.
func TestFilterOfDestinations(t *testing.T) {
	var envoys strings.Builder
	for _, cluster := range []string{"users", "users_else_cart", "inbound_8080", "inbound_passthrough", "outbound_passthrough"} {
		for _, line := range []string{`rq_total{envoy_cluster_name="%s"}`, `cx_total{envoy_cluster_name="%s"}`, `rq_time_bucket{envoy_cluster_name="%s",le="5"}`, `rq_time_bucket{envoy_cluster_name="%s",le="+Inf"}`, `rq_time_sum{envoy_cluster_name="%s"}`} {
			envoys.WriteString("envoy_cluster_upstream_" + fmt.Sprintf(line, cluster) + " 1\n")
		}
	}
	for level, want := range map[string]int{"": 3, bootstrap.StatisticsDetailed: 5, bootstrap.StatisticsNone: 0} {
		var out strings.Builder
		if _, err := filter(strings.NewReader(envoys.String()), &out, bootstrap.Statistics{Destinations: level}); err != nil {
			t.Fatal(err)
		}
		for cluster, want := range map[string]int{"users": want, "users_else_cart": want, "inbound_8080": 5, "inbound_passthrough": 5, "outbound_passthrough": 5} {
			if got := strings.Count(out.String(), `"`+cluster+`"`); got != want {
				t.Errorf("level %q: %d series of %s are passed on, want %d\n%s", level, got, cluster, want, out.String())
			}
		}
	}
}

func TestUsedByOthers(t *testing.T) {
	row := func(state, uid string) string {
		return "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n" +
			"   0: 00000000:1F90 00000000:0000 " + state + " 00000000:00000000 00:00000000 00000000 " + uid + "        0 12345 1 0000000000000000 100 0 0 10 0\n"
	}
	for _, test := range []struct {
		table string
		want  bool
	}{
		{row("0A", "0"), true}, {row("01", "1000"), true}, {row("02", "1000"), true}, {row("08", "1000"), true},
		{row("0A", "15033"), false}, {row("06", "0"), false}, {row("04", "1000"), false}, {"", false}, {"nonsense", false}, {row("0A", "nobody"), false},
	} {
		if got := usedByOthers(test.table, 15033); got != test.want {
			t.Errorf("%t for\n%s", got, test.table)
		}
	}
}

// TestExplain holds the sentences for each way in which Envoy can end.
func TestExplain(t *testing.T) {
	read := make(chan struct{})
	close(read)
	log := &envoy{read: read, lines: []string{"one", "two"}}
	exited := func(code int) syscall.WaitStatus { return syscall.WaitStatus(code << 8) }
	for _, test := range []struct {
		status      syscall.WaitStatus
		asked       string
		outOfMemory bool
		code        int
		says        string
	}{
		{exited(0), "terminated", false, 0, ""},
		{syscall.WaitStatus(9), "terminated", false, 0, ""},
		{exited(0), "", false, 1, "it ended by itself without an error, which nobody asked for. The end of its log:\none\ntwo"},
		{exited(3), "", false, 3, "it ended with exit code 3. The end of its log:\none\ntwo"},
		{syscall.WaitStatus(11), "", false, 139, "it was ended by signal 11 (segmentation fault), which pillion-proxy did not send"},
		{syscall.WaitStatus(9), "", true, 137, "the container was out of memory (its limit is 1048576 bytes): raise it"},
	} {
		s := &Sidecar{Run: lifecycle.Run{MemoryLimit: 1 << 20}, Stderr: os.NewFile(uintptr(syscall.Stderr), "stderr")}
		if null, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0); err == nil {
			s.Stderr = null
		}
		code, err := s.explain(log, test.status, test.asked, test.outOfMemory)
		if code != test.code || (err == nil) != (test.says == "") || err != nil && !strings.Contains(err.Error(), test.says) {
			t.Errorf("%v: exit code %d, %v; want %d and %q", test.status, code, err, test.code, test.says)
		}
	}
}

// TestWait ends when it is told so, and with the last answer when it is not.
func TestWait(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if asked++; asked < 3 {
			http.Error(w, "one thing\nanother", http.StatusServiceUnavailable)
		}
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	port := uint16(listener.Addr().(*net.TCPAddr).Port)
	last := LastWords(filepath.Join(t.TempDir(), "last-words"))
	if err := os.WriteFile(string(last), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Wait(t.Context(), lifecycle.Wait{Timeout: 10 * time.Second, StatusPort: port}, last); err != nil || asked != 3 {
		t.Errorf("%v after %d questions", err, asked)
	}
	asked = -1000
	err = Wait(t.Context(), lifecycle.Wait{Timeout: 200 * time.Millisecond, StatusPort: port}, last)
	words, _ := os.ReadFile(string(last))
	if want := "waiting for Envoy to serve: not within 200ms: one thing; another"; err == nil || err.Error() != want || string(words) != want {
		t.Errorf("%v, last words %q; want %q", err, words, want)
	}
	_ = server.Close()
	err = Wait(t.Context(), lifecycle.Wait{Timeout: 200 * time.Millisecond, StatusPort: port}, "")
	if err == nil || !strings.Contains(err.Error(), "pillion-proxy run does not answer on its status port") {
		t.Errorf("nobody there: %v", err)
	}
}

// TestDrainWithoutEnvoy returns at once, whatever is the matter.
func TestDrainWithoutEnvoy(t *testing.T) {
	for name, folder := range map[string]string{
		"no Envoy":        t.TempDir(),
		"not yet serving": fakeAdmin(t, map[string]string{"/server_info": `{"state": "INITIALIZING"}`}),
		"it refuses":      fakeAdmin(t, nil),
	} {
		var out strings.Builder
		began := time.Now()
		Drain(context.Background(), lifecycle.Drain{PreDrainDelay: time.Minute, DrainTime: time.Minute}, folder, &out)
		if took := time.Since(began); took > 20*time.Second || !strings.HasPrefix(out.String(), "pillion-proxy: nothing to drain: ") {
			t.Errorf("%s: after %s: %s", name, took, out.String())
		}
	}
}

// A line of Envoy's log without an end is kept in part, and the last lines only.
func TestLogIsBounded(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	e := &envoy{read: make(chan struct{})}
	go e.passOn(reader, &out)
	for n := range 10 {
		_, _ = fmt.Fprintf(writer, "line %d %s\n", n, strings.Repeat("x", 100_000))
	}
	_ = writer.Close()
	last := e.lastLines()
	if len(e.lines) != keptLines || len(last) > keptLines*600 || out.Len() != 10*(100_000+len("line 0 \n")) {
		t.Errorf("%d lines kept, %d bytes; %d bytes passed on", len(e.lines), len(last), out.Len())
	}
}

// TestWaitSaysWhatIsSo of the two ways in which it can hear nothing.
func TestWaitSaysWhatIsSo(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	port := uint16(listener.Addr().(*net.TCPAddr).Port)
	err = Wait(t.Context(), lifecycle.Wait{Timeout: 200 * time.Millisecond, StatusPort: port}, "")
	if want := "waiting for Envoy to serve: not within 200ms: pillion-proxy run has not answered on its status port"; err == nil || err.Error() != want {
		t.Errorf("nobody answers: %v", err)
	}
	last := LastWords(filepath.Join(t.TempDir(), "last-words"))
	if err := os.WriteFile(string(last), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(100*time.Millisecond, cancel)
	err = Wait(ctx, lifecycle.Wait{Timeout: time.Minute, StatusPort: port}, last)
	words, _ := os.ReadFile(string(last))
	if err == nil || !strings.HasPrefix(err.Error(), "waiting for Envoy to serve: interrupted: ") || len(words) > 0 {
		t.Errorf("interrupted: %v, last words %q", err, words)
	}
}

// TestClusterUse reads more than this program would hold at once, and says when there is
// less than it should be.
func TestClusterUse(t *testing.T) {
	const host = `{"stats": [{"name": "cx_active", "value": "7"}, {"name": "rq_active", "value": "2"}]}`
	hosts := strings.Repeat(host+",", 100_000) + host
	answer := `{"cluster_statuses": [{"name": "a@1", "host_statuses": [` + hosts + `]}, {"name": "b@1"}]}`
	if len(answer) < longestAnswer {
		t.Fatalf("%d bytes are too few to show it", len(answer))
	}
	of := []bootstrap.Cluster{{Name: "a@1"}, {Name: "b@1"}}
	got, err := newAdmin(fakeAdmin(t, map[string]string{"/clusters": answer})).clusterUse(t.Context(), of)
	if want := (map[string]clusterUse{"a@1": {100_001, 200_002}, "b@1": {}}); err != nil || !maps.Equal(got, want) {
		t.Errorf("%v, %v; want %v", got, err, want)
	}
	for name, broken := range map[string]string{"cut": answer[:len(answer)/2], "no JSON": "<html>", "cut behind a cluster": `{"cluster_statuses": [{"name": "a@1"},`} {
		if got, err := newAdmin(fakeAdmin(t, map[string]string{"/clusters": broken})).clusterUse(t.Context(), of); err == nil {
			t.Errorf("%s: %v", name, got)
		}
	}
	if got, err := newAdmin(fakeAdmin(t, map[string]string{"/clusters": "{}"})).clusterUse(t.Context(), of); err != nil || len(got) != 0 {
		t.Errorf("none in service: %v, %v", got, err)
	}
}
