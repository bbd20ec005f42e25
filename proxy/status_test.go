package proxy

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// statusOf serves the status port of a sidecar on loopback.
func statusOf(t *testing.T, s *Sidecar) (port *status, address string, quit <-chan struct{}) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	quitting := make(chan struct{}, 1)
	mesh := newApplier(s, bootstrap.Config{}, nil)
	mesh.settle()
	port = newStatus(s, mesh, quitting)
	server := port.serve(listener)
	t.Cleanup(func() { _ = server.Close() })
	return port, listener.Addr().String(), quitting
}

func ask(t *testing.T, method, url string) (int, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Error(err)
	}
	return response.StatusCode, string(body)
}

// parsed are the metrics by name; the test ends where they are not of the format.
func parsed(t *testing.T, text string) map[string]float64 {
	t.Helper()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	values := map[string]float64{}
	for name, family := range families {
		for _, m := range family.GetMetric() {
			values[name] = m.GetGauge().GetValue()
		}
	}
	return values
}

// TestMetricsWithoutEnvoy: they are of the format, and say that Envoy's are missing.
func TestMetricsWithoutEnvoy(t *testing.T) {
	_, address, _ := statusOf(t, &Sidecar{Folder: t.TempDir(), Version: "v1\"\\\n"})
	code, body := ask(t, http.MethodGet, "http://"+address+"/metrics")
	got := parsed(t, body)
	if code != http.StatusOK || got["pillion_proxy_envoy_scrape_failed"] != 1 || got["pillion_proxy_ready"] != 0 || got["pillion_proxy_info"] != 1 {
		t.Errorf("HTTP %d\n%s", code, body)
	}
	if _, there := got["pillion_proxy_start_seconds"]; there {
		t.Errorf("it has never served, but has a time until it did:\n%s", body)
	}
}

// TestMetricsBrokenOff: an Envoy that ends in the middle of a line leaves whole lines
// and the news that it did.
func TestMetricsBrokenOff(t *testing.T) {
	folder := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(folder, bootstrap.AdminSocket))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, "# TYPE envoy_server_live gauge\nenvoy_server_live{} 1\n# TYPE envoy_server_state gauge\nenvoy_server_state{a=\"")
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	_, address, _ := statusOf(t, &Sidecar{Folder: folder})
	_, body := ask(t, http.MethodGet, "http://"+address+"/metrics")
	got := parsed(t, body)
	if got["envoy_server_live"] != 1 || got["pillion_proxy_envoy_scrape_failed"] != 1 {
		t.Error(body)
	}
}

// TestManyAskAtOnce: Envoy's main thread is asked for few of them.
func TestManyAskAtOnce(t *testing.T) {
	folder := t.TempDir()
	listener, err := net.Listen("unix", filepath.Join(folder, bootstrap.AdminSocket))
	if err != nil {
		t.Fatal(err)
	}
	var ready, running, most atomic.Int32
	hold := make(chan struct{})
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if now := running.Add(1); now > most.Load() {
			most.Store(now)
		}
		defer running.Add(-1)
		switch r.URL.Path {
		case "/ready":
			ready.Add(1)
			<-hold
			_, _ = io.WriteString(w, "LIVE\n")
		case "/stats":
			_, _ = io.WriteString(w, allLoaded)
		case "/listeners":
			_, _ = io.WriteString(w, bothListeners)
		}
	})}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(func() { _ = server.Close() })
	_, address, _ := statusOf(t, &Sidecar{Folder: folder})
	const askers = 100
	var codes [askers]int
	var all sync.WaitGroup
	for n := range askers {
		all.Go(func() { codes[n], _ = ask(t, http.MethodGet, "http://"+address+"/readyz") })
	}
	eventually(t, "Envoy is asked", func() (string, bool) { return "", ready.Load() > 0 })
	close(hold)
	all.Wait()
	for _, code := range codes {
		if code != http.StatusOK {
			t.Fatalf("/readyz: HTTP %d", code)
		}
	}
	// A slow machine may need longer for all of them than an answer is fresh.
	if ready.Load() > askers/2 || most.Load() > 1 {
		t.Errorf("Envoy was asked %d times for %d questions, %d at once", ready.Load(), askers, most.Load())
	}
}

// TestScrapesAreBounded, and say so to those that are too many.
func TestScrapesAreBounded(t *testing.T) {
	port, address, _ := statusOf(t, &Sidecar{Folder: t.TempDir()})
	for range mostScrapes {
		port.scrapes <- struct{}{}
	}
	if code, body := ask(t, http.MethodGet, "http://"+address+"/metrics"); code != http.StatusServiceUnavailable || body != "2 scrapes are running already.\n" {
		t.Errorf("HTTP %d %q", code, body)
	}
	<-port.scrapes
	if code, _ := ask(t, http.MethodGet, "http://"+address+"/metrics"); code != http.StatusOK {
		t.Errorf("HTTP %d when one has ended", code)
	}
}

// TestClientsAreBounded: those that are too many are closed, and when some have gone
// there is room again.
func TestClientsAreBounded(t *testing.T) {
	port, address, _ := statusOf(t, &Sidecar{Folder: t.TempDir()})
	var held []net.Conn
	for range mostClients {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		held = append(held, c)
	}
	defer func() {
		for _, c := range held {
			_ = c.Close()
		}
	}()
	eventually(t, "all are counted", func() (string, bool) { n := port.clients.Load(); return fmt.Sprint(n), n == mostClients })
	if code, body := ask(t, http.MethodGet, "http://"+address+"/healthz"); code != 0 {
		t.Errorf("one too many: HTTP %d %s", code, body)
	}
	_ = held[0].Close()
	eventually(t, "there is room", func() (string, bool) {
		code, body := ask(t, http.MethodGet, "http://"+address+"/healthz")
		return body, code == http.StatusOK
	})
}

// TestQuit is for the pod itself, where it is allowed.
func TestQuit(t *testing.T) {
	for _, test := range []struct {
		allowed  bool
		from, to string
		code     int
	}{
		{true, "127.0.0.1:4", "127.0.0.1", 200}, {true, "[::1]:4", "::1", 200}, {true, "10.0.0.5:4", "10.0.0.5", 200},
		{true, "[::ffff:10.0.0.5]:4", "10.0.0.5", 200}, {true, "[fd00::5]:4", "fd00::5", 200},
		{true, "10.0.0.6:4", "10.0.0.5", 403}, {true, "[fd00::6]:4", "fd00::5", 403}, {true, "nonsense", "10.0.0.5", 403},
		{false, "127.0.0.1:4", "127.0.0.1", 403},
	} {
		quit := make(chan struct{}, 1)
		s := newStatus(&Sidecar{Run: lifecycle.Run{QuitWithApp: test.allowed}}, nil, quit)
		request := httptest.NewRequest(http.MethodPost, "/quitquitquit", http.NoBody)
		request.RemoteAddr = test.from
		request = request.WithContext(context.WithValue(request.Context(), http.LocalAddrContextKey, &net.TCPAddr{IP: net.ParseIP(test.to), Port: 15020}))
		for range 2 { // the second must not wait for anybody
			answer := httptest.NewRecorder()
			s.quitquitquit(answer, request)
			if answer.Code != test.code || (len(quit) > 0) != (test.code == 200) {
				t.Errorf("%+v: HTTP %d %s, told to end: %t", test, answer.Code, answer.Body, len(quit) > 0)
			}
		}
	}
}

// TestReadinessWhileDraining is false, with the reason.
func TestReadinessWhileDraining(t *testing.T) {
	folder := fakeAdmin(t, map[string]string{"/ready": "LIVE\n", "/stats": allLoaded, "/listeners": bothListeners})
	_, address, _ := statusOf(t, &Sidecar{Folder: folder})
	if code, body := ask(t, http.MethodGet, "http://"+address+"/readyz"); code != http.StatusOK {
		t.Errorf("before: HTTP %d %s", code, body)
	}
	if err := os.WriteFile(filepath.Join(folder, draining), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, body := ask(t, http.MethodGet, "http://"+address+"/readyz"); code != http.StatusServiceUnavailable || body != "the pod is draining\n" {
		t.Errorf("while it drains: HTTP %d %q", code, body)
	}
	if _, body := ask(t, http.MethodGet, "http://"+address+"/metrics"); parsed(t, body)["pillion_proxy_draining"] != 1 {
		t.Error(body)
	}
}

// TestStartTime is measured when Envoy serves, and once.
func TestStartTime(t *testing.T) {
	s, _, _ := statusOf(t, &Sidecar{Folder: fakeAdmin(t, map[string]string{"/ready": "LIVE\n", "/stats": allLoaded, "/listeners": bothListeners})})
	s.started = time.Now().Add(-time.Minute)
	s.noteReady(t.Context())
	if after := time.Duration(s.readyAfter.Load()); after < time.Minute || after > 2*time.Minute {
		t.Errorf("%s", after)
	}
}
