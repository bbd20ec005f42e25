package replicas

import (
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"testing"
	"time"
)

const (
	// As the chart's readiness probe.
	probePeriod, probeTimeout, probeFailures = 2 * time.Second, time.Second, 3
	// endpointsDelay is how long a change takes to reach kube-proxy.
	endpointsDelay = 500 * time.Millisecond
)

// balancer is a Service with the replicas that are ready behind it.
type balancer struct {
	listener net.Listener

	mutex    sync.Mutex
	backends map[*backend]bool // whether it gets new connections
}

type backend struct {
	address, statusURL string
	stop               context.CancelFunc
}

func newBalancer(t *testing.T, address string) *balancer {
	t.Helper()
	listener, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	b := &balancer{listener: listener, backends: map[*backend]bool{}}
	go b.accept()
	t.Cleanup(func() { _ = listener.Close() })
	return b
}

func (b *balancer) accept() {
	for {
		c, err := b.listener.Accept()
		if err != nil {
			return
		}
		go b.serve(c)
	}
}

// serve leads a connection to one replica, until either side ends it. Where there
// is no replica the connection is refused, as kube-proxy does.
func (b *balancer) serve(client net.Conn) {
	defer client.Close()
	address := b.pick()
	if address == "" {
		_ = client.(*net.TCPConn).SetLinger(0)
		return
	}
	server, err := net.Dial("tcp", address)
	if err != nil {
		_ = client.(*net.TCPConn).SetLinger(0)
		return
	}
	defer server.Close()
	done := make(chan struct{}, 2)
	splice := func(to, from net.Conn) {
		_, _ = io.Copy(to, from)
		_ = to.(*net.TCPConn).CloseWrite()
		done <- struct{}{}
	}
	go splice(server, client)
	go splice(client, server)
	<-done
	<-done
}

func (b *balancer) pick() string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	var ready []string
	for backend, is := range b.backends {
		if is {
			ready = append(ready, backend.address)
		}
	}
	if len(ready) == 0 {
		return ""
	}
	return ready[rand.IntN(len(ready))]
}

// add puts a replica behind the Service; it gets connections once it is ready.
func (b *balancer) add(t *testing.T, address, statusURL string) *backend {
	t.Helper()
	ctx, stop := context.WithCancel(context.WithoutCancel(t.Context()))
	added := &backend{address, statusURL, stop}
	b.mutex.Lock()
	b.backends[added] = false
	b.mutex.Unlock()
	t.Cleanup(stop)
	go b.probe(ctx, added)
	return added
}

// remove takes it away, as for a pod that is being deleted: at once, but for the
// delay.
func (b *balancer) remove(r *backend) {
	r.stop()
	time.Sleep(endpointsDelay)
	b.mutex.Lock()
	delete(b.backends, r)
	b.mutex.Unlock()
}

// probe asks a replica as kubelet does, until it is removed.
func (b *balancer) probe(ctx context.Context, r *backend) {
	failures := probeFailures
	for ctx.Err() == nil {
		if asked := ask(ctx, r.statusURL+"/readyz"); asked == nil {
			failures = 0
		} else {
			failures++
		}
		sleep(ctx, endpointsDelay)
		b.mutex.Lock()
		if _, here := b.backends[r]; here && ctx.Err() == nil {
			b.backends[r] = failures < probeFailures
		}
		b.mutex.Unlock()
		// A new replica is looked at more often, so that a test need not wait.
		if failures > 0 {
			sleep(ctx, probePeriod/10)
		} else {
			sleep(ctx, probePeriod-endpointsDelay)
		}
	}
}

func ask(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, probeTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return errors.New(response.Status)
	}
	return nil
}

func sleep(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// isReady says whether a replica gets connections.
func (b *balancer) isReady(r *backend) bool {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	return b.backends[r]
}

// ready is how many replicas get connections.
func (b *balancer) ready() int {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	n := 0
	for _, is := range b.backends {
		if is {
			n++
		}
	}
	return n
}
