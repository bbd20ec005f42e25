package meshservice

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// longest is what anything may take before a test gives up.
const longest = time.Minute

// dialer opens connections as a process in a pod does: a name is asked DNS for.
func (c cluster) dialer(from *sandbox.Pod) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		host, port, err := net.SplitHostPort(address)
		if err != nil {
			return nil, err
		}
		at, err := netip.ParseAddr(host)
		if err != nil {
			at = c.dns.Lookup(host)
		}
		if !at.IsValid() {
			return nil, fmt.Errorf("no such host: %s", host)
		}
		return from.DialToSpeak(ctx, network, net.JoinHostPort(at.String(), port))
	}
}

// client calls over HTTP/1 from a pod.
func (c cluster) client(from *sandbox.Pod) *http.Transport {
	transport := &http.Transport{DialContext: c.dialer(from), MaxIdleConnsPerHost: 1000}
	c.Cleanup(transport.CloseIdleConnections)
	return transport
}

// client2 calls over HTTP/2 without TLS.
func (c cluster) client2(from *sandbox.Pod) *http.Transport {
	transport := c.client(from)
	transport.Protocols = new(http.Protocols)
	transport.Protocols.SetUnencryptedHTTP2(true)
	return transport
}

// answer is what came of a request; the code is 0 where there was an error.
type answer struct {
	code   int
	body   string
	header http.Header
	err    error
}

func (a answer) String() string { return fmt.Sprintf("HTTP %d %.200q %v", a.code, a.body, a.err) }

// ask sends a request. Headers are names and values in turn. Go itself sends
// none again that has a body, as it cannot be read twice.
func ask(ctx context.Context, by http.RoundTripper, method, url string, headers ...string) answer {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	body := io.Reader(http.NoBody)
	if method == http.MethodPost {
		body = traffic.Once("hello")
	}
	request, err := http.NewRequestWithContext(ctx, method, url, body)
	if err != nil {
		return answer{err: err}
	}
	for n := 0; n+1 < len(headers); n += 2 {
		request.Header.Set(headers[n], headers[n+1])
	}
	response, err := by.RoundTrip(request)
	if err != nil {
		return answer{err: err}
	}
	defer response.Body.Close()
	read, err := io.ReadAll(response.Body)
	return answer{response.StatusCode, string(read), response.Header, err}
}

// wants fails the test unless the answer has the code.
func (a answer) wants(t *testing.T, what string, code int) {
	t.Helper()
	if a.code != code || a.err != nil {
		t.Errorf("%s: %s, want HTTP %d", what, a, code)
	}
}

// under is how far a number of requests, started one after the other, came to a
// gate: each either is in it or has been answered before the next starts.
type under struct {
	inside   int
	answered []answer
	rest     sync.WaitGroup
	mutex    sync.Mutex
	later    []answer
}

// press sends requests to a gate, of which each that gets in stays there.
func press(t *testing.T, g *traffic.Gate, requests int, send func() answer) *under {
	t.Helper()
	u := &under{}
	for n := range requests {
		early := make(chan answer, 1)
		u.rest.Go(func() {
			a := send()
			early <- a
			u.mutex.Lock()
			defer u.mutex.Unlock()
			u.later = append(u.later, a)
		})
		select {
		case <-g.Came:
			u.inside++
		case a := <-early:
			u.answered = append(u.answered, a)
		case <-time.After(longest):
			t.Fatalf("request %d has neither come nor been answered", n+1)
		}
	}
	return u
}

// release opens the gate, waits for all answers, and is how many were 200.
func (u *under) release(g *traffic.Gate) int {
	close(g.Open)
	u.rest.Wait()
	good := 0
	for _, a := range u.later {
		if a.code == http.StatusOK {
			good++
		}
	}
	return good
}

// together sends so many requests at the same time, and is how many had each code.
func together(requests int, send func(n int) answer) map[int]int {
	codes := make(chan int, requests)
	var all sync.WaitGroup
	for n := range requests {
		all.Go(func() { codes <- send(n).code })
	}
	all.Wait()
	close(codes)
	counts := map[int]int{}
	for code := range codes {
		counts[code]++
	}
	return counts
}

// dialled counts the connections that a client opens.
func dialled(transport *http.Transport) *atomic.Int64 {
	count, dial := new(atomic.Int64), transport.DialContext
	transport.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		count.Add(1)
		return dial(ctx, network, address)
	}
	return count
}

// channel is a gRPC channel from a pod, without retries of its own unless it is told
// something else.
func (c cluster) channel(from *sandbox.Pod, target string, options ...grpc.DialOption) *grpc.ClientConn {
	c.Helper()
	if len(options) == 0 {
		options = []grpc.DialOption{grpc.WithDisableRetry()}
	}
	dial := c.dialer(from)
	connection, err := grpc.NewClient("passthrough:///"+target, append(options, grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return dial(ctx, "tcp", address) }))...)
	if err != nil {
		c.Fatal(err)
	}
	c.Cleanup(func() { _ = connection.Close() })
	return connection
}

// call calls a method that rpc serves.
func call(ctx context.Context, by *grpc.ClientConn, method string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	answer := &wrapperspb.StringValue{}
	err := by.Invoke(ctx, method, &emptypb.Empty{}, answer)
	return answer.GetValue(), err
}
