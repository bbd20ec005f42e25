package bootstrap

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

// redirected is a pod with Envoy.
func redirected(t *testing.T, name string) *sandbox.Pod {
	t.Helper()
	p := sandbox.NewPod(t, name)
	start(t, p, inFolder(full(), ""))
	redirect(t, p)
	return p
}

// redirect is the least that leads connections through Envoy: the rules that a pod
// really gets are those of package netfilter.
func redirect(t *testing.T, p *sandbox.Pod) {
	t.Helper()
	rules := filepath.Join(t.TempDir(), "rules.nft")
	content := fmt.Sprintf(`table inet test {
	chain in { type nat hook prerouting priority -100; meta l4proto tcp redirect to :%d; }
	chain out { type nat hook output priority -100; meta skgid %d return; oifname "lo" return; meta l4proto tcp redirect to :%d; }
}`, full().InboundPort, proxyGroup, full().OutboundPort)
	if err := os.WriteFile(rules, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	p.Output(t, "nft", "-f", rules)
}

// exchange is a request as a client writes it and its answer as a server does, and
// what arrives of them on the other side of two Envoys.
type exchange struct {
	name            string
	request, answer string
	arrives         []string // the request's lines, in any order; nil where Envoy refuses it
	status, body    string
}

const (
	get = "GET / HTTP/1.1\r\nHost: x\r\n"
	ok  = "HTTP/1.1 200 OK\r\nServer: theirs\r\n" + date + "Content-Length: 2\r\n\r\nok"
	// date is what Envoy adds where a server does not say it.
	date = "Date: Mon, 23 Nov 2026 00:00:00 GMT\r\n"
)

func exchanges() []exchange {
	plain := []string{"GET / HTTP/1.1", "Host: x"}
	return []exchange{
		{"no header is added", get + "\r\n", ok, plain, "200 OK", "ok"},
		{
			"what the client said of itself stays", get + "X-Forwarded-Proto: https\r\nX-Forwarded-For: 10.0.0.1\r\nX-Forwarded-Client-Cert: By=other\r\n\r\n", ok,
			append(plain, "X-Forwarded-Proto: https", "X-Forwarded-For: 10.0.0.1", "X-Forwarded-Client-Cert: By=other"), "200 OK", "ok",
		},
		{
			"a name of ours does not become the client's word", get + "x-pillion-forwarded-proto: https\r\n\r\n", ok,
			plain, "200 OK", "ok",
		},
		{"an empty header is no obstacle", get + "X-Forwarded-Proto:\r\n\r\n", ok, plain, "200 OK", "ok"},
		{"an offer of TLS is not taken", get + "Connection: Upgrade\r\nUpgrade: TLS/1.2\r\n\r\n", ok, plain, "200 OK", "ok"},
		{"the server's own reason", get + "\r\n", "HTTP/1.1 404 Gone Fishing\r\n" + date + "Content-Length: 2\r\n\r\nno", plain, "404 Gone Fishing", "no"},
		{"a status that nobody knows", get + "\r\n", "HTTP/1.1 599 Odd\r\n" + date + "Content-Length: 0\r\n\r\n", plain, "599 Odd", ""},
		{
			"an answer with two lengths", get + "\r\n", "HTTP/1.1 200 OK\r\n" + date + "Content-Length: 9\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n",
			plain, "200 OK", "ok",
		},
		{
			"a request with two lengths", "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ok,
			nil, "400 Bad Request", "Bad Request",
		},
	}
}

// TestWhatIsSaidArrives sends through two Envoys, and through the server's alone, what
// real clients and servers say and Envoy's defaults change or refuse.
func TestWhatIsSaidArrives(t *testing.T) {
	server := redirected(t, "server")
	port := 8000
	for from, client := range map[string]*sandbox.Pod{"from inside": redirected(t, "inside"), "from outside": sandbox.NewPod(t, "outside")} {
		for _, e := range exchanges() {
			port++
			t.Run(e.name+" "+from, func(t *testing.T) { e.check(t, client, server, port) })
		}
	}
}

func (e exchange) check(t *testing.T, client, server *sandbox.Pod, port int) {
	t.Helper()
	listener := server.Listen(t, "tcp", fmt.Sprint(":", port))
	arrived := make(chan []string, 1)
	go func() {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		var lines []string
		for from := bufio.NewScanner(c); from.Scan() && from.Text() != ""; {
			lines = append(lines, from.Text())
		}
		arrived <- lines
		_, _ = io.WriteString(c, e.answer)
	}()
	c, err := client.Dial(t.Context(), "tcp", net.JoinHostPort(server.IPv4.String(), fmt.Sprint(port)))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, e.request); err != nil {
		t.Fatal(err)
	}
	response, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.Status != e.status || string(body) != e.body {
		t.Errorf("got %q %q, %v; want %q %q", response.Status, body, err, e.status, e.body)
	}
	var lines []string
	select {
	case lines = <-arrived:
		if diff := cmp.Diff(e.answered(t), response.Header); diff != "" {
			t.Errorf("the answer: want -, got +\n%s", diff)
		}
	default: // it would have arrived before its answer
	}
	slices.Sort(lines)
	if diff := cmp.Diff(slices.Sorted(slices.Values(e.arrives)), lines); diff != "" {
		t.Errorf("the request: want -, arrived +\n%s", diff)
	}
}

// answered is the header of the answer.
func (e exchange) answered(t *testing.T) http.Header {
	t.Helper()
	response, err := http.ReadResponse(bufio.NewReader(strings.NewReader(e.answer)), nil)
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	return response.Header
}

// TestUnavailable holds who ends a client's connection: an answer that Envoy itself
// gives for a server that is gone, in HTTP's words and in gRPC's, and not the same
// answer of a server.
func TestUnavailable(t *testing.T) {
	client, server, gone := redirected(t, "client"), sandbox.NewPod(t, "server"), sandbox.NewPod(t, "gone")
	var both http.Protocols
	both.SetHTTP1(true)
	both.SetUnencryptedHTTP2(true)
	app := &http.Server{Protocols: &both, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Content-Type") == "application/grpc" {
			w.Header().Set("Content-Type", "application/grpc")
			w.Header().Set("Grpc-Status", "14")
			return
		}
		w.WriteHeader(http.StatusServiceUnavailable)
	})}
	listener := server.Listen(t, "tcp", ":8080")
	go func() { _ = app.Serve(listener) }()
	t.Cleanup(func() { _ = app.Close() })

	const calls = 3
	for _, test := range []struct {
		name, contentType string
		to                *sandbox.Pod
		connections       int
	}{
		{"HTTP, a server that is gone", "text/plain", gone, calls},
		{"gRPC, a server that is gone", "application/grpc", gone, calls},
		{"HTTP, a server that says so", "text/plain", server, 1},
		{"gRPC, a server that says so", "application/grpc", server, 1},
	} {
		for _, h2 := range []bool{false, true} {
			if got := connections(t, client, test.to, test.contentType, h2, calls); got != test.connections {
				t.Errorf("%s (HTTP/2: %t): %d connections for %d calls, want %d", test.name, h2, got, calls, test.connections)
			}
		}
	}
}

// connections is how many a client needs for some calls that all say unavailable.
func connections(t *testing.T, client, to *sandbox.Pod, contentType string, h2 bool, calls int) int {
	t.Helper()
	var protocols http.Protocols
	protocols.SetHTTP1(!h2)
	protocols.SetUnencryptedHTTP2(h2)
	dials := 0
	transport := &http.Transport{Protocols: &protocols, DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		dials++
		return client.Dial(ctx, network, address)
	}}
	defer transport.CloseIdleConnections()
	for range calls {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, "http://"+net.JoinHostPort(to.IPv4.String(), "8080")+"/shop.Cart/Add", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Content-Type", contentType)
		request.Header.Set("Te", "trailers")
		response, err := transport.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		grpc := slices.Concat(response.Header.Values("Grpc-Status"), response.Trailer.Values("Grpc-Status"))
		if response.StatusCode != http.StatusServiceUnavailable && !slices.Equal(grpc, []string{"14"}) {
			t.Errorf("%s: HTTP %d, gRPC %q, want unavailable", contentType, response.StatusCode, grpc)
		}
		if found := response.Header.Get("X-Envoy-Upstream-Service-Time"); found != "" {
			t.Errorf("the client sees a header of Envoy's: %s", found)
		}
	}
	return dials
}

// TestFilesAreWatched moves another version to the name of each file: Envoy takes it
// while it runs, and reads no other.
func TestFilesAreWatched(t *testing.T) {
	c := inFolder(full(), t.TempDir())
	ask := start(t, sandbox.NewPod(t, "pod"), c)
	for name, stat := range map[string]string{
		ClustersFile: "cluster_manager.cds.version_text", ListenersFile: "listener_manager.lds.version_text",
		InboundRoutesFile: "http.inbound_http.rds.inbound.version_text", OutboundRoutesFile: "http.outbound_http.rds.outbound.version_text",
	} {
		path := filepath.Join(c.Folder, name)
		content, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path+".new", []byte(strings.Replace(string(content), builtIn, "next", 1)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(path+".new", path); err != nil {
			t.Fatal(err)
		}
		want, said := stat+`: "next"`, ""
		for deadline := time.Now().Add(10 * time.Second); !strings.Contains(said, want) && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			_, said = ask("http://admin/stats?type=TextReadouts&filter=version_text")
		}
		if !strings.Contains(said, want) {
			t.Errorf("Envoy does not take %s:\n%s", name, said)
		}
	}
	_, said := ask("http://admin/stats?filter=update_attempt")
	if got := strings.Count(said, "update_attempt: 2\n"); got != 4 {
		t.Errorf("%d of 4 files were read twice, once at the start and once when it was moved:\n%s", got, said)
	}
}
