package meshservice

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"google.golang.org/grpc"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// TestConnectionAgeRebalances calls a Service by gRPC, which keeps its connection.
// When the Service gets a second pod, calls come to it once the connection has its
// age; a connection that may get any age never leaves the first. No call fails.
func TestConnectionAgeRebalances(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	first, second := c.pod("first"), c.pod("second")
	for _, p := range []*sandbox.Pod{first, second} {
		c.rpc(p, "9000", func(string) (string, error) { return p.Name, nil })
	}
	aged, fixed := sandbox.NewService(t, first), sandbox.NewService(t, first)
	c.dns.Set("aged.default.svc.cluster.local", aged.IPv4)
	c.dns.Set("fixed.default.svc.cluster.local", fixed.IPv4)
	m := c.meshed("shop", `egress:
		- {name: aged, service: {name: aged}, port: 9000, protocol: GRPC, maxConnectionAge: 1s}
		- {name: fixed, service: {name: fixed}, port: 9000, protocol: GRPC, maxConnectionAge: 0s, idleTimeout: 1h}
	`, sandbox.App{})
	channels := map[string]*grpc.ClientConn{}
	for _, name := range []string{"aged", "fixed"} {
		channels[name] = c.channel(m.Pod, name+".default.svc.cluster.local:9000")
	}
	var seen tally
	both := func() bool {
		for name, channel := range channels {
			pod, err := call(t.Context(), channel, "/shop.v1.Cart/Get")
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			seen.add(name + " " + pod)
		}
		return seen.of("aged second") >= 10
	}
	for range 20 {
		both()
	}
	if seen.of("aged second")+seen.of("fixed second") > 0 {
		t.Fatal("calls come to a pod that the Service does not have")
	}
	aged.Lead(t, first, second)
	fixed.Lead(t, first, second)
	sandbox.Eventually(t, "ten calls come to the second pod", longest, both)
	if got := seen.of("fixed second"); got > 0 {
		t.Errorf("%d calls come to the second pod on connections of any age: this test cannot fail", got)
	}
}

// TestInboundConnectionAgeLosesNothing calls a port, from outside the mesh, whose
// connections may be one second old: clients connect anew, and no request is lost.
func TestInboundConnectionAgeLosesNothing(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	p := c.pod("shop", "shop.test")
	c.serve(p, traffic.Answer, "8080", "8081")
	c.meshedIn(p, `inbound:
		- {port: 8080, maxConnectionAge: 1s}
		- {port: 8081}
	`, sandbox.App{})
	outside := c.pod("clients")
	var all sync.WaitGroup
	for _, client := range []struct {
		name      string
		transport *http.Transport
	}{{"HTTP/1", c.client(outside)}, {"HTTP/2", c.client2(outside)}} {
		of := map[string]*renewals{"8080": renewalsOf(client.transport), "8081": renewalsOf(client.transport.Clone())}
		all.Go(func() {
			for end := time.Now().Add(longest); of["8080"].seen() < 3 && time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
				for port, by := range of {
					if err := traffic.Post(t.Context(), by, "http://shop.test:"+port+"/"); err != nil {
						t.Errorf("%s, port %s: %v", client.name, port, err)
					}
				}
			}
			if aged, control := of["8080"].seen(), of["8081"].seen(); aged < 3 || control > 0 {
				t.Errorf("%s: the client was told to connect anew %d times, and %d times by the port without an age", client.name, aged, control)
			}
		})
	}
	all.Wait()
}

// renewals is a client that counts how often the server ended its connection. Over HTTP/1 a
// response says so: Go also connects anew by itself, where the goroutine that wrote
// a request was too slow to say that it had. Over HTTP/2 it only does when it has to.
type renewals struct {
	*http.Transport
	told, dials *atomic.Int64
}

func renewalsOf(by *http.Transport) *renewals { return &renewals{by, new(atomic.Int64), dialled(by)} }

func (r *renewals) RoundTrip(request *http.Request) (*http.Response, error) {
	response, err := r.Transport.RoundTrip(request)
	if err == nil && response.Close {
		r.told.Add(1)
	}
	return response, err
}

func (r *renewals) seen() int64 {
	if r.Protocols != nil && r.Protocols.UnencryptedHTTP2() {
		return r.dials.Load() - 1
	}
	return r.told.Load()
}

// TestInboundConnectionAgeWaitsForARequest: an HTTP/1 client cannot be told without a
// response that its connection has come of age. So an idle one is left alone, and the next
// response says it; a connection that is closed just when a request is on its way
// would lose that.
func TestInboundConnectionAgeWaitsForARequest(t *testing.T) {
	t.Parallel()
	c := newCluster(t)
	p := c.pod("shop", "shop.test")
	c.serve(p, traffic.Answer, "8080")
	c.meshedIn(p, "inbound: [{port: 8080, maxConnectionAge: 3s}]", sandbox.App{})
	outside := c.pod("clients")
	idle, err := outside.DialToSpeak(t.Context(), "tcp", net.JoinHostPort(p.IPv4.String(), "8080"))
	if err != nil {
		t.Fatal(err)
	}
	defer idle.Close()
	_ = idle.SetDeadline(time.Now().Add(2 * longest))
	answers := bufio.NewReader(idle)
	get := func() *http.Response {
		_, _ = io.WriteString(idle, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n")
		response, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatalf("on a connection that is old and idle: %v", err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
		return response
	}
	if get().Close {
		t.Error("the first response says that the connection ends")
	}
	// The same age of an HTTP/2 connection, which can be told at any time, ends it.
	untilClosed(t, outside, net.JoinHostPort(p.IPv4.String(), "8080"))
	if !get().Close {
		t.Error("the response on an old connection does not say that it ends")
	}
}

// untilClosed opens an idle HTTP/2 connection and waits until the server ends it.
func untilClosed(t *testing.T, from *sandbox.Pod, address string) {
	t.Helper()
	connection, err := from.DialToSpeak(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	_ = connection.SetDeadline(time.Now().Add(2 * longest))
	framer := http2.NewFramer(connection, connection)
	_, _ = io.WriteString(connection, http2.ClientPreface)
	_ = framer.WriteSettings()
	for {
		if _, err := framer.ReadFrame(); errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("an HTTP/2 connection does not end by its age")
		} else if err != nil {
			return
		}
	}
}

// TestIdleTimeoutBelowKeepAlive calls a server just when it closes idle connections.
// With an idle timeout below that no request fails; with one above, half of them do.
func TestIdleTimeoutBelowKeepAlive(t *testing.T) {
	t.Parallel()
	const keepAlive = 3 * time.Second
	c := newCluster(t)
	server := c.pod("server", "below.test", "above.test")
	m := c.meshed("shop", `egress:
		- {name: below, host: below.test, port: 8080, idleTimeout: 1s}
		- {name: above, host: above.test, port: 8081, idleTimeout: 60s}
	`, sandbox.App{})
	var failed [2]int64
	var all sync.WaitGroup
	for n, to := range []string{"below.test:8080", "above.test:8081"} {
		_, port, _ := net.SplitHostPort(to)
		closer := traffic.NewCloser(keepAlive)
		server.Serve(t, port, traffic.Accept(closer.Serve))
		all.Go(func() { failed[n] = closer.RaceErrors(t.Context(), "http://"+to+"/", c.dialer(m.Pod)) })
	}
	all.Wait()
	t.Logf("failed requests: %d, and %d with an idle timeout above the server's", failed[0], failed[1])
	if failed[0] > 0 {
		t.Errorf("%d requests failed, want 0", failed[0])
	}
	if failed[1] < 100 {
		t.Errorf("with an idle timeout above the server's %d requests failed: too few to show that this test can fail", failed[1])
	}
}
