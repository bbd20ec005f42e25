package envoy

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/e2e/envoy"
)

// longest is what anything may take before a test gives up.
const longest = 20 * time.Second

// proxied is an Envoy with the virtual hosts and clusters of a generation behind one
// port of this machine, and nothing else of a pod.
type proxied struct {
	address, admin string
}

func start(t *testing.T, g *bootstrap.Generation) proxied {
	t.Helper()
	folder := t.TempDir()
	p := proxied{admin: filepath.Join(folder, "admin.sock")}
	var clusters []any
	for _, c := range g.Clusters {
		message := map[string]any{}
		// No name server is needed for a name that is here.
		if err := json.Unmarshal(bytes.ReplaceAll(c.Message, []byte(`"address":"here.test"`), []byte(`"address":"127.0.0.1"`)), &message); err != nil {
			t.Fatal(err)
		}
		delete(message, "@type")
		clusters = append(clusters, message)
	}
	for _, passthrough := range []string{bootstrap.OutboundPassthrough, bootstrap.OutboundGRPC} {
		clusters = append(clusters, map[string]any{"name": passthrough, "type": "STATIC"})
	}
	manager := map[string]any{
		"@type":       "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
		"stat_prefix": "test", "codec_type": "AUTO", "stream_idle_timeout": "0s",
		"route_config": map[string]any{"name": "test", "virtual_hosts": g.Outbound.VirtualHosts, "ignore_port_in_host_matching": true},
		"http_filters": []any{map[string]any{"name": "envoy.filters.http.router", "typed_config": map[string]any{"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}}},
	}
	config, err := json.Marshal(map[string]any{
		"admin": map[string]any{"address": map[string]any{"pipe": map[string]any{"path": p.admin}}},
		"static_resources": map[string]any{"clusters": clusters, "listeners": []any{map[string]any{
			"name": "test", "address": map[string]any{"socket_address": map[string]any{"address": "127.0.0.1", "port_value": 0}},
			"filter_chains": []any{map[string]any{"filters": []any{map[string]any{"name": "http", "typed_config": manager}}}},
		}}},
	})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(folder, "envoy.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		t.Fatal(err)
	}
	var log strings.Builder
	command := exec.Command(envoy.Path(t), "--config-path", file, "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
	command.Stdout, command.Stderr = &log, &log
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	for deadline := time.Now().Add(longest); ; time.Sleep(10 * time.Millisecond) {
		// It has the address before it listens: names are looked up in between.
		if state, err := p.ask(t, "/ready"); err == nil && state == "LIVE\n" {
			at, err := p.ask(t, "/listeners")
			if err != nil || !strings.HasPrefix(at, "test::") {
				t.Fatalf("Envoy listens at %q, %v", at, err)
			}
			p.address = strings.TrimSpace(strings.TrimPrefix(at, "test::"))
			return p
		}
		if time.Now().After(deadline) {
			t.Fatal("Envoy does not start:\n", log.String())
		}
	}
}

// ask asks the admin interface.
func (p proxied) ask(t *testing.T, path string) (string, error) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", p.admin)
	}}}
	response, err := client.Get("http://admin" + path)
	if err != nil {
		return "", err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// stat is one number.
func (p proxied) stat(t *testing.T, name string) int {
	t.Helper()
	said, err := p.ask(t, "/stats?filter=^"+name+"$")
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(said), name+":")))
	if err != nil {
		t.Fatalf("%s: %q", name, said)
	}
	return n
}

// server counts the requests that it gets.
type server struct {
	*httptest.Server
	port     int
	requests atomic.Int32
	header   atomic.Pointer[http.Header]
}

func serve(t *testing.T, answer http.HandlerFunc) *server {
	t.Helper()
	s := &server{}
	s.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.requests.Add(1)
		s.header.Store(&r.Header)
		answer(w, r)
	}))
	s.port = s.Listener.Addr().(*net.TCPAddr).Port
	t.Cleanup(s.CloseClientConnections)
	t.Cleanup(s.Close)
	return s
}

func say(what string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, what) }
}

func fail(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func after(d time.Duration, then http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-time.After(d):
			then(w, r)
		case <-r.Context().Done():
		}
	}
}

func hang(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }

// call sends a request for a host through Envoy.
func (p proxied) call(t *testing.T, method, host, path string, header http.Header) (int, string, http.Header) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://"+p.address+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	request.Host = host
	for name, values := range header {
		request.Header[name] = values
	}
	// In a pod its Envoy knows which port a connection goes to.
	if _, port, err := net.SplitHostPort(host); err == nil {
		request.Header.Set(bootstrap.PortAside, port)
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return 0, err.Error(), nil
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body), response.Header
}

// fallbackDocument has places for the origin's port, the fallback, and the cache's host and
// port.
const fallbackDocument = `{apiVersion: pillion.dev/v1alpha1, kind: MeshService, metadata: {name: checkout, namespace: shop}, spec: {egress: [
	{name: entities, host: here.test, port: %d, routes: [{headers: [{name: x-cached, value: "yes"}], to: cache, fallback: %s}]},
	{name: cache, host: %s, port: %d}]}}`

// Fallbacks. One that fails waits for an answer for as long as no machine is busy, or, where
// it is to give up, as short as by default.
const (
	whereAbsent = "{when: Absent}"
	whereFails  = "{when: Fails, after: 1h}"
	whereLate   = "{when: Fails}"
)

// TestFallback: the state of the destination that a route leads to costs no request.
func TestFallback(t *testing.T) {
	closed := serve(t, say("closed"))
	closed.Close()
	entities := say("entities")
	// Slower than fallback.after, which is not meant for the origin.
	slowly := after(400*time.Millisecond, entities)
	// The cache answers when the origin has been asked as well, which then does not.
	asked := make(chan struct{}, 1)
	late := func(w http.ResponseWriter, r *http.Request) {
		select {
		case <-asked:
			say("cache")(w, r)
		case <-r.Context().Done():
		}
	}
	silent := func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("X-Cached") == "" {
			entities(w, r)
			return
		}
		asked <- struct{}{}
		hang(w, r)
	}
	for _, test := range []struct {
		state    string
		cache    http.HandlerFunc // nil takes no connection
		host     string
		fallback string
		origin   http.HandlerFunc
		want     string
		code     int
		times    int32 // that the origin is asked
	}{
		{"well", say("cache"), "here.test", whereAbsent, entities, "cache", 200, 0},
		{"down", nil, "here.test", whereAbsent, entities, "entities", 200, 1},
		{"unknown name", nil, "there-is-none.invalid", whereAbsent, entities, "entities", 200, 1},
		{"failing", fail(503), "here.test", whereAbsent, entities, "", 503, 0},
		{"well", say("cache"), "here.test", whereFails, entities, "cache", 200, 0},
		{"down", nil, "here.test", whereFails, entities, "entities", 200, 1},
		{"unknown name", nil, "there-is-none.invalid", whereFails, entities, "entities", 200, 1},
		// The first attempt goes to the origin; if it is slower than fallback.after, it is
		// asked once more, as if it were the cache.
		{"unknown name", nil, "there-is-none.invalid", whereLate, meeting(2, entities), "entities", 200, 2},
		{"failing", fail(500), "here.test", whereFails, entities, "entities", 200, 1},
		{"hanging", hang, "here.test", whereLate, slowly, "entities", 200, 1},
		// Slower than fallback.after, and still before the origin: no time is lost.
		{"slow", late, "here.test", whereLate, silent, "cache", 200, 1},
	} {
		t.Run(test.fallback+" "+test.state, func(t *testing.T) {
			origin, cache := serve(t, test.origin), closed
			if test.cache != nil {
				cache = serve(t, test.cache)
			}
			p := start(t, rendered(t, fmt.Appendf(nil, fallbackDocument, origin.port, test.fallback, test.host, cache.port)))
			code, body, _ := p.call(t, "GET", fmt.Sprint("here.test:", origin.port), "/", http.Header{"X-Cached": {"yes"}})
			if code != test.code || body != test.want || origin.requests.Load() != test.times {
				t.Errorf("HTTP %d %q, the origin was asked %d times; want %d %q, %d", code, body, origin.requests.Load(), test.code, test.want, test.times)
			}
			if code, body, _ := p.call(t, "GET", fmt.Sprint("here.test:", origin.port), "/", nil); code != 200 || body != "entities" {
				t.Errorf("without the header: HTTP %d %q", code, body)
			}
		})
	}
}

// meeting answers none of the first requests before there are so many.
func meeting(requests int32, then http.HandlerFunc) http.HandlerFunc {
	var came atomic.Int32
	all := make(chan struct{})
	return func(w http.ResponseWriter, r *http.Request) {
		if came.Add(1) == requests {
			close(all)
		}
		select {
		case <-all:
			then(w, r)
		case <-r.Context().Done():
		}
	}
}

// TestFallbackIsNoSecondOrder: a request that HTTP does not say may be carried out twice
// goes back where it has not been carried out for certain, and only there.
func TestFallbackIsNoSecondOrder(t *testing.T) {
	closed := serve(t, say("closed"))
	closed.Close()
	for _, test := range []struct {
		state  string
		answer http.HandlerFunc // nil takes no connection
		code   int
		times  int32 // that the origin is asked
	}{
		{"down", nil, 200, 1},
		{"failing", fail(500), 500, 0},
		{"slow", after(300*time.Millisecond, say("cache")), 200, 0},
	} {
		t.Run(test.state, func(t *testing.T) {
			origin, cache := serve(t, say("entities")), closed
			if test.answer != nil {
				cache = serve(t, test.answer)
			}
			p := start(t, rendered(t, fmt.Appendf(nil, fallbackDocument, origin.port, whereLate, "here.test", cache.port)))
			code, body, _ := p.call(t, "POST", fmt.Sprint("here.test:", origin.port), "/", http.Header{"X-Cached": {"yes"}})
			if code != test.code || origin.requests.Load() != test.times {
				t.Errorf("HTTP %d %q, the origin was asked %d times; want %d, %d", code, body, origin.requests.Load(), test.code, test.times)
			}
		})
	}
}

// TestFallbackOfMany: requests at the same time fall back all of them, however many.
func TestFallbackOfMany(t *testing.T) {
	const many = 50
	arrived := make(chan struct{}, many)
	release := make(chan struct{})
	origin := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		arrived <- struct{}{}
		<-release
		_, _ = io.WriteString(w, "entities")
	})
	cache := serve(t, hang)
	goOn := sync.OnceFunc(func() { close(release) })
	t.Cleanup(goOn)
	p := start(t, rendered(t, fmt.Appendf(nil, fallbackDocument, origin.port, whereLate, "here.test", cache.port)))
	answers := make(chan string, many)
	for range many {
		go func() {
			_, body, _ := p.call(t, "GET", fmt.Sprint("here.test:", origin.port), "/", http.Header{"X-Cached": {"yes"}})
			answers <- body
		}()
	}
	for n := range many {
		select {
		case <-arrived:
		case <-time.After(longest):
			t.Fatalf("%d of %d requests fell back", n, many)
		}
	}
	goOn()
	for range many {
		if body := <-answers; body != "entities" {
			t.Errorf("a request was answered %q", body)
		}
	}
	if got := p.stat(t, "cluster.cache_else_entities.upstream_rq_retry"); got != many {
		t.Errorf("%d fallbacks were counted, want %d", got, many)
	}
}

// TestFallbackProtocols: each of the two clusters behind a route is spoken to in its own
// protocol.
func TestFallbackProtocols(t *testing.T) {
	version := func(w http.ResponseWriter, r *http.Request) { _, _ = fmt.Fprintf(w, "%s", r.Proto) }
	origin, cache := serve(t, version), &server{}
	cache.Server = httptest.NewUnstartedServer(http.HandlerFunc(version))
	cache.Config.Protocols = new(http.Protocols)
	cache.Config.Protocols.SetUnencryptedHTTP2(true)
	cache.Start()
	t.Cleanup(cache.Close)
	cache.port = cache.Listener.Addr().(*net.TCPAddr).Port
	document := strings.Replace(fallbackDocument, "name: cache,", "name: cache, protocol: HTTP2,", 1)
	p := start(t, rendered(t, fmt.Appendf(nil, document, origin.port, whereFails, "here.test", cache.port)))
	host, cached := fmt.Sprint("here.test:", origin.port), http.Header{"X-Cached": {"yes"}}
	if code, body, _ := p.call(t, "GET", host, "/", cached); body != "HTTP/2.0" {
		t.Errorf("the cache was asked by %d %q", code, body)
	}
	cache.Close()
	if code, body, _ := p.call(t, "GET", host, "/", cached); body != "HTTP/1.1" {
		t.Errorf("the origin was asked by %d %q", code, body)
	}
}
