package dataplane

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/e2e/injected"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

// Each path gets its requests in blocks, in turn with the others.
const (
	requestRounds = 10
	requestBlock  = 300
)

// path is how requests of one protocol go: from a pod to another, each of which has
// an Envoy or not, over so many connections at once.
type path struct {
	name    string
	ask     func(context.Context) error
	through []*sandbox.Running
	atOnce  int
	// destination of the first Envoy's MeshService; empty for none.
	destination string

	took     []time.Duration
	envoyCPU time.Duration
}

// BenchmarkRequests sends requests over connections that stay, one after the other on
// each: directly, through the client's Envoy, to a destination that its MeshService has
// among few and among many, and through the client's and the server's. Envoy's CPU is that of all Envoys on the way. Client, Envoys and server
// share the machine, so what an Envoy adds is more than on a node with idle cores.
func BenchmarkRequests(b *testing.B) {
	needsRoot(b)
	paths := requestPaths(b)
	for round := range requestRounds + 1 { // the first one is for connections and caches
		for n := range paths {
			if err := paths[(n+round)%len(paths)].block(b.Context(), round > 0); err != nil {
				b.Fatalf("%s: %v", paths[(n+round)%len(paths)].name, err)
			}
		}
	}
	wentTheirWay(b, paths)
	for _, p := range paths {
		b.Run(p.name, func(b *testing.B) {
			slices.Sort(p.took)
			b.ReportMetric(0, "ns/op")
			b.ReportMetric(microseconds(p.took[len(p.took)/2]), "p50-us")
			b.ReportMetric(microseconds(p.took[len(p.took)*99/100]), "p99-us")
			b.ReportMetric(microseconds(p.envoyCPU)/float64(len(p.took)), "envoy-cpu-us/req")
		})
	}
}

// wentTheirWay ends the benchmark unless each Envoy has counted the requests of the
// paths that lead through it, and no others, and each destination those to it.
func wentTheirWay(b *testing.B, paths []*path) {
	b.Helper()
	type destination struct {
		of   *sandbox.Running
		name string
	}
	through, to := map[*sandbox.Running]int{}, map[destination]int{}
	for _, p := range paths {
		for _, r := range p.through {
			through[r] += (requestRounds + 1) * requestBlock
		}
		if p.destination != "" {
			to[destination{p.through[0], p.destination}] += (requestRounds + 1) * requestBlock
		}
	}
	for r, requests := range through {
		if got := served(b, r); got != requests {
			b.Fatalf("the Envoy of pod %s counts %d requests, and %d should have gone through it", r.Name, got, requests)
		}
	}
	for d, requests := range to {
		if got := injected.Stats(b, d.of)["cluster."+d.name+".upstream_rq_total"]; got != uint64(requests) {
			b.Fatalf("the Envoy of pod %s counts %d requests to %s, and there were %d", d.of.Name, got, d.name, requests)
		}
	}
}

// served is how many requests the Envoy of a pod says that it had.
func served(b *testing.B, r *sandbox.Running) int {
	b.Helper()
	const statusPort = "15020"
	request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, "http://"+net.JoinHostPort(r.IPv4.String(), statusPort)+"/metrics", http.NoBody)
	if err != nil {
		b.Fatal(err)
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		b.Fatal(err)
	}
	defer response.Body.Close()
	sum := 0
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		if series, value, _ := strings.Cut(lines.Text(), "} "); strings.HasPrefix(series, "envoy_http_downstream_rq_total{") {
			n, err := strconv.Atoi(value)
			if err != nil {
				b.Fatal(err)
			}
			sum += n
		}
	}
	if err := lines.Err(); err != nil {
		b.Fatal(err)
	}
	return sum
}

// block sends a block of requests; only where it counts they are kept.
func (p *path) block(ctx context.Context, counts bool) error {
	before, err := p.cpu()
	if err != nil {
		return err
	}
	var took [requestBlock]time.Duration
	var failed [requestBlock]error
	var all sync.WaitGroup
	for first := range p.atOnce {
		all.Go(func() {
			for n := first; n < requestBlock; n += p.atOnce {
				start := time.Now()
				failed[n] = p.ask(ctx)
				took[n] = time.Since(start)
			}
		})
	}
	all.Wait()
	if err := errors.Join(failed[:]...); err != nil {
		return err
	}
	after, err := p.cpu()
	if err == nil && counts {
		p.took, p.envoyCPU = append(p.took, took[:]...), p.envoyCPU+after-before
	}
	return err
}

// cpu that the Envoys on the way have used so far.
func (p *path) cpu() (time.Duration, error) {
	var sum time.Duration
	for _, r := range p.through {
		used, err := cpuOf(r.Envoy.PID())
		if err != nil {
			return 0, err
		}
		sum += used
	}
	return sum, nil
}

// cpuOf adds up the time that the threads of a container's programs have run, which
// schedstat has in nanoseconds, and stat only in steps of 10 ms. pillion-proxy is the
// container's first process and Envoy its child.
func cpuOf(first int) (time.Duration, error) {
	children, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", first))
	if err != nil {
		return 0, err
	}
	threads := []string{}
	for _, file := range children {
		content, err := os.ReadFile(file)
		if err != nil {
			return 0, fmt.Errorf("looking for Envoy: %w", err)
		}
		for child := range strings.FieldsSeq(string(content)) {
			of, err := filepath.Glob("/proc/" + child + "/task/*/schedstat")
			if err != nil {
				return 0, err
			}
			threads = append(threads, of...)
		}
	}
	if len(threads) == 0 {
		return 0, fmt.Errorf("process %d has no Envoy", first)
	}
	var sum time.Duration
	for _, file := range threads {
		content, err := os.ReadFile(file)
		if err != nil {
			return 0, fmt.Errorf("reading the CPU time of Envoy: %w", err)
		}
		ran, _, _ := strings.Cut(string(content), " ")
		n, err := strconv.ParseInt(ran, 10, 64)
		if err != nil {
			return 0, fmt.Errorf("reading the CPU time of Envoy: %w", err)
		}
		sum += time.Duration(n)
	}
	return sum, nil
}

// requestPaths starts the pods and connects them.
func requestPaths(b *testing.B) []*path {
	b.Helper()
	plainServer, meshServer := sandbox.NewPod(b, "plain-server"), sandbox.NewPod(b, "mesh-server")
	plainClient, meshClient := sandbox.NewPod(b, "plain-client"), sandbox.NewPod(b, "mesh-client")
	serve(b, plainServer)
	serve(b, meshServer)
	server, client := inject(b, meshServer), inject(b, meshClient)
	few, callsFew := declare(b, "few", plainServer, 0)
	many, callsMany := declare(b, "many", plainServer, manyDestinations)
	var paths []*path
	for _, way := range []struct {
		name     string
		from, to *sandbox.Pod
		through  []*sandbox.Running
		host     string
		web, rpc string
	}{
		{"direct", plainClient, plainServer, nil, plainServer.IPv4.String(), "", ""},
		{"outbound", meshClient, plainServer, []*sandbox.Running{client}, plainServer.IPv4.String(), "", ""},
		{"declared", few, plainServer, []*sandbox.Running{callsFew}, declaredHost, "web", "rpc"},
		{"declared-among-1000", many, plainServer, []*sandbox.Running{callsMany}, declaredHost, "web", "rpc"},
		{"both", meshClient, meshServer, []*sandbox.Running{client, server}, meshServer.IPv4.String(), "", ""},
	} {
		for _, connections := range []int{1, 16} {
			paths = append(paths, &path{
				name: fmt.Sprintf("http1/connections=%d/%s", connections, way.name), ask: http1(b, way.from, way.to, way.host, connections), through: way.through, destination: way.web, atOnce: connections,
			})
		}
		paths = append(paths, &path{name: "grpc/connections=1/" + way.name, ask: unary(b, way.from, way.to, way.host), through: way.through, destination: way.rpc, atOnce: 1})
	}
	return paths
}

const declaredHost = "server.test"

// declare starts a pod whose MeshService has a server as a destination, with much to do for
// each request, and so many others.
func declare(b *testing.B, name string, server *sandbox.Pod, others int) (*sandbox.Pod, *sandbox.Running) {
	b.Helper()
	p, config := sandbox.NewPod(b, name), sandbox.NewConfigMap(b)
	p.DNS, p.ConfigMaps = sandbox.NewDNS(b), map[string]*sandbox.ConfigMap{v1alpha1.MeshConfigMap(name): config}
	p.DNS.Set(declaredHost, server.IPv4)
	most := int32(1000)
	cares := v1alpha1.Destination{
		Host: declaredHost, Timeout: &metav1.Duration{Duration: time.Minute}, Retries: &v1alpha1.Retries{},
		Breakers: &v1alpha1.Breakers{MaxRequests: &most}, OutlierDetection: &v1alpha1.OutlierDetection{},
	}
	web, rpc := cares, cares
	web.Name, web.Port = "web", 8080
	rpc.Name, rpc.Port, rpc.Protocol = "rpc", 9000, v1alpha1.ProtocolGRPC
	egress := []v1alpha1.Destination{web, rpc}
	for n := range others {
		p.DNS.Set(host(n), server.IPv4)
		egress = append(egress, v1alpha1.Destination{Name: fmt.Sprint("destination-", n), Host: host(n), Port: 8080})
	}
	g := declaring(b, name, egress)
	data, err := g.Seal()
	if err != nil {
		b.Fatal(err)
	}
	config.Write(b, map[string][]byte{bootstrap.GenerationFile: data})
	r := inject(b, p)
	sandbox.Eventually(b, "the destinations are in force", time.Minute, func() bool { return inForce(b, p) == g.Version })
	return p, r
}

// inject gives a pod its sidecar and waits until it is ready.
func inject(b *testing.B, p *sandbox.Pod) *sandbox.Running {
	b.Helper()
	r, err := p.Run(b, plainPod(b, p.Name), injected.Images(b, filepath.Dir(program(b, "pillion-init"))), sandbox.App{})
	if err != nil {
		b.Fatalf("starting pod %s: %v", p.Name, err)
	}
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		if err = r.Ready(b.Context()); err == nil {
			return r
		}
		if time.Now().After(deadline) {
			b.Fatalf("pod %s is not ready: %v", p.Name, err)
		}
	}
}

const (
	httpPort = "8080"
	grpcPort = "9000"
)

// answer is a body of the size of a small JSON document.
var answer = strings.Repeat("x", 1024)

func serve(b *testing.B, p *sandbox.Pod) {
	b.Helper()
	web := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, answer) })} //nolint:gosec // a benchmark's
	rpc := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(rpc, health.NewServer())
	for port, serve := range map[string]func(net.Listener) error{httpPort: web.Serve, grpcPort: rpc.Serve} {
		listener := p.Listen(b, "tcp", ":"+port)
		go func() { _ = serve(listener) }()
	}
	b.Cleanup(func() { _ = web.Close(); rpc.Stop() })
}

// http1 asks for a host over no more than so many connections.
func http1(b *testing.B, from, to *sandbox.Pod, host string, connections int) func(context.Context) error {
	b.Helper()
	at := net.JoinHostPort(to.IPv4.String(), httpPort)
	transport := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) { return from.Dial(ctx, network, at) }, MaxConnsPerHost: connections, MaxIdleConnsPerHost: connections}
	b.Cleanup(transport.CloseIdleConnections)
	url := "http://" + net.JoinHostPort(host, httpPort) + "/"
	return func(ctx context.Context) error {
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
		if err != nil {
			return err
		}
		response, err := transport.RoundTrip(request)
		if err != nil {
			return err
		}
		defer response.Body.Close()
		body, err := io.ReadAll(response.Body)
		if err == nil && (response.StatusCode != http.StatusOK || string(body) != answer) {
			err = fmt.Errorf("HTTP %d with %d bytes", response.StatusCode, len(body))
		}
		return err
	}
}

// unary calls a host over one connection.
func unary(b *testing.B, from, to *sandbox.Pod, host string) func(context.Context) error {
	b.Helper()
	connection, err := grpc.NewClient("passthrough:///"+net.JoinHostPort(to.IPv4.String(), grpcPort),
		grpc.WithAuthority(net.JoinHostPort(host, grpcPort)), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, address string) (net.Conn, error) { return from.Dial(ctx, "tcp", address) }))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _ = connection.Close() })
	client := grpc_health_v1.NewHealthClient(connection)
	return func(ctx context.Context) error {
		_, err := client.Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		return err
	}
}

func microseconds(d time.Duration) float64 { return float64(d) / float64(time.Microsecond) }
