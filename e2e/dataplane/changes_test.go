package dataplane

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/e2e/injected"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// shop is a pod of a service whose MeshService changes, what it calls and who calls it.
type shop struct {
	t        *testing.T
	pod      *sandbox.Running
	outside  *sandbox.Pod
	backends map[string]*sandbox.Pod
	dns      *sandbox.DNS
	config   *sandbox.ConfigMap
}

func newShop(t *testing.T, w want) *shop {
	t.Helper()
	s := &shop{t: t, outside: sandbox.NewPod(t, "outside"), backends: map[string]*sandbox.Pod{}, dns: sandbox.NewDNS(t), config: sandbox.NewConfigMap(t)}
	for _, name := range backends() {
		p := sandbox.NewPod(t, name)
		serve(t, p)
		s.backends[name] = p
		s.dns.Set(hostOf(name), p.IPv4)
	}
	s.serveFaulty()
	p := sandbox.NewPod(t, "shop")
	p.DNS, p.ConfigMaps = s.dns, map[string]*sandbox.ConfigMap{v1alpha1.MeshConfigMap("shop"): s.config}
	serve(t, p)
	s.pod = run(t, p, w, sandbox.App{})
	injected.Ready(t, s.pod)
	return s
}

func (s *shop) put(content []byte) {
	s.t.Helper()
	s.config.Write(s.t, map[string][]byte{bootstrap.GenerationFile: content})
}

func (s *shop) apply(g *bootstrap.Generation) {
	s.t.Helper()
	data, err := g.Seal()
	if err != nil {
		s.t.Fatal(err)
	}
	s.put(data)
}

func (s *shop) status() (is lifecycle.MeshStatus) {
	s.t.Helper()
	code, body := injected.Status(s.t, s.outside, s.pod.Pod, http.MethodGet, lifecycle.MeshStatusPath)
	if err := json.Unmarshal([]byte(body), &is); err != nil || code != http.StatusOK {
		s.t.Fatalf("/status: HTTP %d %s: %v", code, body, err)
	}
	return is
}

// await waits until a version is in force.
func (s *shop) await(version string) {
	s.t.Helper()
	var is lifecycle.MeshStatus
	sandbox.Eventually(s.t, "version "+version+" is in force", time.Minute, func() bool {
		is = s.status()
		if is.State == lifecycle.MeshRejected && is.Wanted != nil && is.Wanted.Version == version {
			s.t.Fatalf("it was rejected: %s", is.Reason)
		}
		return is.State == lifecycle.MeshApplied && is.Running.Version == version
	})
}

// applyFirst has connections begin with a document in force.
func (s *shop) applyFirst(of *changes) {
	s.t.Helper()
	g := of.next(s.t)
	s.apply(g)
	s.await(g.Version)
}

// rejected is how many updates Envoy did not take. Those of a destination are what DNS said.
func (s *shop) rejected() (updates uint64) {
	s.t.Helper()
	for name, value := range injected.Stats(s.t, s.pod) {
		if strings.HasPrefix(name, "cluster.") {
			continue
		}
		if strings.HasSuffix(name, ".update_rejected") || strings.HasSuffix(name, ".update_failure") {
			updates += value
		}
	}
	return updates
}

// callers are one of each kind for each backend, and for the service itself.
func (s *shop) callers() map[string]func(context.Context) error {
	all := map[string]func(context.Context) error{}
	add := func(name string, from, to *sandbox.Pod, host string) {
		pick := func() string { return to.IPv4.String() }
		url := "http://" + net.JoinHostPort(host, httpPort) + "/"
		for kind, transport := range map[string]*http.Transport{
			"kept": {}, "new": {DisableKeepAlives: true}, "HTTP/2": {Protocols: unencryptedHTTP2()}, "sandbox": {},
		} {
			transport.DialContext = traffic.Dialer(from, pick, httpPort)
			header := http.Header{}
			if kind == "sandbox" {
				header.Set(sandboxHeader, "yes")
			}
			all[name+", "+kind] = func(ctx context.Context) error {
				return traced(ctx, func(ctx context.Context) error { return postTo(ctx, transport, url, header) })
			}
		}
		secure := &http.Transport{DialContext: traffic.Dialer(from, pick, tlsPort), TLSClientConfig: &tls.Config{ServerName: host, InsecureSkipVerify: true}} //nolint:gosec // a test's
		since, kept := time.Now(), name == "to "+keeps || to == s.pod.Pod
		all[name+", TLS"] = func(ctx context.Context) error {
			// Envoy cannot tell it to go, and cuts it when its destination is not declared any
			// more and the drain is over: see docs/limits.md.
			if !kept && time.Since(since) > shorterThanDrain {
				secure.CloseIdleConnections()
				since = time.Now()
			}
			return postTo(ctx, secure, "https://"+net.JoinHostPort(host, tlsPort)+"/", nil)
		}
		all[name+", GET"] = getTwice(traffic.Dialer(from, pick, httpPort), url)
		all[name+", gRPC"] = rpcTo(net.JoinHostPort(host, grpcPort), traffic.Dialer(from, pick, grpcPort))
		all[name+", TCP"] = echoes(traffic.Dialer(from, pick, echoPort))
	}
	for name, p := range s.backends {
		add("to "+name, s.pod.Pod, p, hostOf(name))
	}
	add("from outside", s.outside, s.pod.Pod, "shop.test")
	return all
}

func unencryptedHTTP2() *http.Protocols {
	var only http.Protocols
	only.SetUnencryptedHTTP2(true)
	return &only
}

func postTo(ctx context.Context, transport *http.Transport, url string, header http.Header) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, traffic.Once("hello"))
	if err != nil {
		return err
	}
	request.ContentLength = 5
	for name, values := range header {
		request.Header[name] = values
	}
	_, err = traffic.Do(transport, request, "POST / 5 bytes")
	return err
}

const (
	// keeps is the backend whose destination for TLS every document has, so that connections
	// to it last as long as the load does; others live shorterThanDrain.
	keeps            = "payments"
	shorterThanDrain = 3 * time.Second
)

// echoes says something on one connection, again and again.
func echoes(dial func(context.Context, string, string) (net.Conn, error)) func(context.Context) error {
	var c net.Conn
	return func(ctx context.Context) (err error) {
		if c == nil {
			if c, err = dial(ctx, "", ""); err != nil {
				return err
			}
		}
		_ = c.SetDeadline(time.Now().Add(15 * time.Second))
		heard := make([]byte, 5)
		if _, err = io.WriteString(c, "hello"); err == nil {
			_, err = io.ReadFull(c, heard)
		}
		if err != nil {
			_ = c.Close()
			c = nil
		}
		return err
	}
}

func rpcTo(target string, dial func(context.Context, string, string) (net.Conn, error)) func(context.Context) error {
	connection, err := grpc.NewClient("passthrough:///"+target, grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry(),
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

// underCalls runs something while all callers call, and is what failed.
func (s *shop) underCalls(f func()) (made int, failures []string) {
	s.t.Helper()
	stop, cancel := context.WithCancel(s.t.Context())
	var all sync.WaitGroup
	var mutex sync.Mutex
	for name, call := range s.callers() {
		all.Go(func() {
			for stop.Err() == nil {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(stop), 15*time.Second)
				err := call(ctx)
				cancel()
				mutex.Lock()
				made++
				if err != nil {
					failures = append(failures, fmt.Sprintf("%s %s: %v", time.Now().Format("15:04:05.000"), name, err))
				}
				mutex.Unlock()
				select {
				case <-stop.Done():
				case <-time.After(50*time.Millisecond + rand.N(50*time.Millisecond)):
				}
			}
		})
	}
	ended := false
	defer func() {
		if cancel(); !ended { // f has ended the test: what failed may say why
			all.Wait()
			s.expectNone(made, failures)
		}
	}()
	f()
	ended = true
	cancel()
	all.Wait()
	return made, failures
}

func (s *shop) expectNone(made int, failures []string) {
	s.t.Helper()
	s.t.Logf("%d requests, %d failed", made, len(failures))
	if len(failures) > 0 || made == 0 {
		s.t.Errorf("%d of %d requests failed\n%s", len(failures), made, strings.Join(failures[:min(20, len(failures))], "\n"))
	}
}
