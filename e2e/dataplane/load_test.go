package dataplane

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptrace"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// load is many clients that call a service until they are told to stop. No client
// repeats a request: each failure counts.
type load struct {
	names *names
	stop  context.Context
	all   sync.WaitGroup

	mutex    sync.Mutex
	requests int
	failures []string
}

// kind is how a client calls.
type kind struct {
	name string
	// late is how far its view of DNS lags behind.
	late time.Duration
	// caller makes one client, which one request after the other is made with.
	caller func(from *sandbox.Pod, pick func() string) func(context.Context) error
}

func kinds() []kind {
	return []kind{
		{name: "keep-alive", caller: keepAlive},
		{name: "keep-alive, DNS 10 s late", late: 10 * time.Second, caller: keepAlive},
		{name: "new connections", caller: newConnections},
		{name: "new connections, DNS 10 s late", late: 10 * time.Second, caller: newConnections},
		{name: "streaming", caller: streaming},
		{name: "gRPC", caller: rpc},
	}
}

// start starts a client.
func (l *load) start(from *sandbox.Pod, k kind) {
	call := k.caller(from, func() string { return l.names.lookup(k.late).String() })
	l.all.Go(func() {
		for l.stop.Err() == nil {
			// A client goes on to the end with what it began, as in life.
			ctx, cancel := context.WithTimeout(context.WithoutCancel(l.stop), longest)
			err := traced(ctx, call)
			cancel()
			l.count(from, k, err)
			select {
			case <-l.stop.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	})
}

func (l *load) count(from *sandbox.Pod, k kind, err error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.requests++
	if err != nil {
		l.failures = append(l.failures, fmt.Sprintf("%s: %s, from %s: %v", time.Now().Format("05.000"), k.name, from.Name, err))
	}
}

func (l *load) made() int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.requests
}

// describe is what failed, the first of it.
func (l *load) describe() string {
	return fmt.Sprintf("%d of %d requests failed\n%s", len(l.failures), l.requests, strings.Join(l.failures[:min(20, len(l.failures))], "\n"))
}

// under runs something while clients in and outside of the mesh call a service, and
// goes on until they have made at least so many requests.
func under(t *testing.T, clients, least int, of *names, inside *sandbox.Running, outside *sandbox.Pod, f func()) *load {
	t.Helper()
	stop, cancel := context.WithCancel(t.Context())
	l := &load{names: of, stop: stop}
	from := []*sandbox.Pod{inside.Pod, outside}
	all := kinds()
	for n := range clients {
		// So that each kind is both inside and outside. All in one moment would starve Envoy,
		// which then takes who is late to speak for TCP, and tells nobody of a drain: see ADR 7.
		l.start(from[n%2], all[n/2%len(all)])
		time.Sleep(5 * time.Millisecond)
	}
	f()
	for deadline := time.Now().Add(5 * longest); l.made() < least && time.Now().Before(deadline); {
		time.Sleep(100 * time.Millisecond)
	}
	cancel()
	l.all.Wait()
	slices.Sort(l.failures)
	return l
}

// traced adds to an error which connection it came by.
func traced(ctx context.Context, call func(context.Context) error) error {
	var used httptrace.GotConnInfo
	err := call(httptrace.WithClientTrace(ctx, &httptrace.ClientTrace{GotConn: func(info httptrace.GotConnInfo) { used = info }}))
	if c, ok := used.Conn.(traffic.Dialed); ok && err != nil {
		return fmt.Errorf("%w, to %s, connected %s ago, reused %t, idle for %s", err, c.RemoteAddr(), time.Since(c.At), used.Reused, used.IdleTime)
	}
	return err
}

func keepAlive(from *sandbox.Pod, pick func() string) func(context.Context) error {
	transport := &http.Transport{DialContext: traffic.Dialer(from, pick, httpPort)}
	return func(ctx context.Context) error { return traffic.Post(ctx, transport, serverURL) }
}

func newConnections(from *sandbox.Pod, pick func() string) func(context.Context) error {
	transport := &http.Transport{DialContext: traffic.Dialer(from, pick, httpPort), DisableKeepAlives: true}
	return func(ctx context.Context) error { return traffic.Post(ctx, transport, serverURL) }
}

// streaming reads an answer that takes two seconds, over and over on one connection.
func streaming(from *sandbox.Pod, pick func() string) func(context.Context) error {
	transport := &http.Transport{DialContext: traffic.Dialer(from, pick, httpPort)}
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://server:"+httpPort+"/stream", traffic.Once("x"))
		if err != nil {
			return err
		}
		_, err = traffic.Do(transport, request, strings.Repeat("chunk\n", chunks))
		return err
	}
}

// rpc makes unary calls on one channel, without retries or waiting.
func rpc(from *sandbox.Pod, pick func() string) func(context.Context) error {
	dial := traffic.Dialer(from, pick, grpcPort)
	connection, err := grpc.NewClient("passthrough:///server", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return dial(ctx, "", "") }))
	return func(ctx context.Context) error {
		if err != nil {
			return err
		}
		answer, err := grpc_health_v1.NewHealthClient(connection).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err == nil && answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			err = errors.New("not serving")
		}
		return err
	}
}
