package dataplane

import (
	"context"
	"net"
	"net/http"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// TestConnectionAges calls through connections that may be one and two seconds old until
// they have been renewed on both sides: neither a request nor an answer that takes longer
// than that is lost.
func TestConnectionAges(t *testing.T) {
	t.Parallel()
	server, inside, outside := sandbox.NewPod(t, "server"), sandbox.NewPod(t, "inside"), sandbox.NewPod(t, "outside")
	var accepted atomic.Int64
	plain := &http.Server{Handler: http.HandlerFunc(traffic.Answer), ConnState: func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			accepted.Add(1)
		}
	}}
	outside.Serve(t, httpPort, plain.Serve)
	w := want{annotations: map[string]string{"pillion.dev/max-upstream-age": "1s", "pillion.dev/max-downstream-age": "2s"}}
	run(t, server, w, serverApp(t, server))
	run(t, inside, w, sandbox.App{})
	host := server.IPv4.String()
	pick := func() string { return host }

	var dials atomic.Int64
	transport := &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		dials.Add(1)
		return traffic.Dialer(outside, pick, httpPort)(ctx, network, address)
	}}
	callers := map[string]func(context.Context) error{
		"from outside": func(ctx context.Context) error { return traffic.Post(ctx, transport, serverURL) },
		"from inside":  keepAlive(inside, pick), "from inside to outside": keepAlive(inside, outside.IPv4.String), "gRPC from inside": rpc(inside, pick), "streaming from inside": streaming(inside, pick),
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	ended := make(chan struct{}, len(callers))
	for name, call := range callers {
		go func() {
			defer func() { ended <- struct{}{} }()
			for ctx.Err() == nil {
				if err := call(context.WithoutCancel(ctx)); err != nil {
					t.Errorf("%s: %v", name, err)
				}
				time.Sleep(20 * time.Millisecond)
			}
		}()
	}
	// Without an age of theirs, connections are as old as five minutes.
	sandbox.Eventually(t, "a client has connected three times, and Envoy four times", longest, func() bool { return dials.Load() >= 3 && accepted.Load() >= 4 })
	cancel()
	for range callers {
		<-ended
	}
}
