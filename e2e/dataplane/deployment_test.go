package dataplane

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"

	"github.com/pillion-mesh/pillion/e2e/injected"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// names is what DNS says of a service's pods, and what it said before: a client may
// be late.
type names struct {
	mutex   sync.Mutex
	answers []answerAt
}

type answerAt struct {
	since     time.Time
	addresses []netip.Addr
}

func (n *names) set(addresses []netip.Addr) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	n.answers = append(n.answers, answerAt{time.Now(), addresses})
}

// lookup is one of the addresses that a client knows whose view is that late.
func (n *names) lookup(late time.Duration) netip.Addr {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	known := n.answers[0]
	for _, a := range n.answers {
		if time.Since(a.since) >= late {
			known = a
		}
	}
	return known.addresses[rand.IntN(len(known.addresses))]
}

// deployment is a service whose pods are replaced one by one.
type deployment struct {
	t     *testing.T
	names names
	pods  []*sandbox.Running
	want  want
	made  int
}

// newDeployment starts pods of a service, each ready before the next.
func newDeployment(t *testing.T, replicas int, w want) *deployment {
	t.Helper()
	d := &deployment{t: t, want: w}
	for range replicas {
		d.add()
	}
	return d
}

// add starts a pod and, when it is ready, tells its address.
func (d *deployment) add() {
	d.t.Helper()
	d.made++
	p := sandbox.NewPod(d.t, fmt.Sprintf("server-%d", d.made))
	running := run(d.t, p, d.want, serverApp(d.t, p))
	injected.Ready(d.t, running)
	d.pods = append(d.pods, running)
	d.publish()
}

func (d *deployment) publish() {
	var addresses []netip.Addr
	for _, p := range d.pods {
		addresses = append(addresses, p.IPv4)
	}
	d.names.set(addresses)
}

// roll replaces every pod: a new one is ready before an old one is stopped, and
// nobody waits for the old one's end before going on.
func (d *deployment) roll(stop func(*sandbox.Running)) {
	d.t.Helper()
	var stopping sync.WaitGroup
	for range len(d.pods) {
		d.add()
		old := d.pods[0]
		d.pods = d.pods[1:]
		d.publish()
		stopping.Go(func() { stop(old) })
	}
	stopping.Wait()
}

// serverApp is an app that shuts down as a good one does: it serves what it has
// begun and closes what is idle.
func serverApp(t *testing.T, p *sandbox.Pod) sandbox.App {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc("/", traffic.Answer)
	mux.HandleFunc("/stream", stream)
	web := &http.Server{Handler: mux}
	rpc := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(rpc, health.NewServer())
	t.Cleanup(func() { _ = web.Close(); rpc.Stop() })
	return sandbox.App{
		Start: func() {
			p.Serve(t, httpPort, web.Serve)
			p.Serve(t, grpcPort, rpc.Serve)
		},
		Stop: func() {
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			defer cancel()
			_ = web.Shutdown(ctx)
			stopped := make(chan struct{})
			go func() { defer close(stopped); rpc.GracefulStop() }()
			select {
			case <-stopped:
			case <-ctx.Done():
				rpc.Stop()
			}
		},
		Kill: func() {
			_ = web.Close()
			rpc.Stop()
		},
	}
}

// chunks of a streaming answer, which takes two seconds.
const chunks = 20

func stream(w http.ResponseWriter, r *http.Request) {
	for range chunks {
		if _, err := w.Write([]byte("chunk\n")); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		select {
		case <-r.Context().Done():
			return
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// httpProbe is a readiness probe of the app.
func httpProbe(port string) *corev1.Probe {
	number, _ := net.LookupPort("tcp", port)
	p := &corev1.Probe{PeriodSeconds: 1, TimeoutSeconds: 1}
	p.TCPSocket = &corev1.TCPSocketAction{}
	p.TCPSocket.Port.IntVal = int32(number)
	return p
}
