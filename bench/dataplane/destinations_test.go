package dataplane

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/e2e/injected"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/envoy"
	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/lifecycle"
	"github.com/pillion-mesh/pillion/mesh"
)

const (
	manyDestinations = 1000
	// What a sidecar with that many is held to, before and after it has called each of them.
	// Envoy that keeps all of its statistics takes 165 and 200 MB.
	mostMemory, mostMemoryCalled = 142 << 20, 180 << 20
	mostScrape                   = 250 << 10
)

// calling is a generation with so many destinations, whose hosts DNS finds at an address.
func calling(tb testing.TB, dns *sandbox.DNS, at netip.Addr, destinations int) *bootstrap.Generation {
	tb.Helper()
	var egress []v1alpha1.Destination
	for n := range destinations {
		dns.Set(host(n), at)
		egress = append(egress, v1alpha1.Destination{Name: fmt.Sprint("destination-", n), Host: host(n), Port: 8080})
	}
	return declaring(tb, "shop", egress)
}

// declaring is a service's generation with these destinations.
func declaring(tb testing.TB, name string, egress []v1alpha1.Destination) *bootstrap.Generation {
	tb.Helper()
	document := &v1alpha1.MeshService{ObjectMeta: metav1.ObjectMeta{
		Name: name, Namespace: "default", Generation: int64(len(egress)) + 1, CreationTimestamp: metav1.Unix(1_700_000_000, 0),
	}, Spec: v1alpha1.MeshServiceSpec{Egress: egress}}
	v1alpha1.DefaultMeshService(document)
	service, err := mesh.Resolve(document)
	if err != nil {
		tb.Fatal(err)
	}
	g, err := envoy.Render(service)
	if err != nil {
		tb.Fatal(err)
	}
	return g
}

func host(n int) string { return fmt.Sprintf("destination-%d.test", n) }

// TestThousandDestinations measures what they cost a sidecar, and holds its memory and
// the size of a scrape: before they are called, which is when Envoy makes most
// statistics of them, and afterwards. Then the container is killed while nobody hears
// from DNS, which its restart does not wait for.
func TestThousandDestinations(t *testing.T) {
	needsRoot(t)
	if err := programs(); err != nil {
		t.Fatal(err)
	}
	p, server, config := sandbox.NewPod(t, "shop"), sandbox.NewPod(t, "server"), sandbox.NewConfigMap(t)
	server.Serve(t, "8080", func(l net.Listener) error {
		return http.Serve(l, http.HandlerFunc(func(http.ResponseWriter, *http.Request) {})) //nolint:gosec // for this test alone
	})
	p.DNS, p.ConfigMaps = sandbox.NewDNS(t), map[string]*sandbox.ConfigMap{v1alpha1.MeshConfigMap("shop"): config}
	images := injected.Images(t, folder)
	r, err := p.Run(t, plainPod(t, "shop"), images, sandbox.App{})
	if err != nil {
		t.Fatal(err)
	}
	costs(t, p, r, "no destination", mostMemory)
	for _, n := range []int{1, manyDestinations} {
		g := calling(t, p.DNS, server.IPv4, n)
		data, err := g.Seal()
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		config.Write(t, map[string][]byte{bootstrap.GenerationFile: data})
		sandbox.Eventually(t, "it is in force", time.Minute, func() bool { return inForce(t, p) == g.Version })
		t.Logf("%d destinations: %d KB of generation, in force after %s", n, len(data)>>10, time.Since(began).Round(10*time.Millisecond))
		costs(t, p, r, fmt.Sprint(n, " destinations"), mostMemory)
	}
	// Deferred: statistics of calls are made when there are any.
	if have, calls := counted(injected.Stats(t, r)); have > 0 || calls > 0 {
		t.Errorf("before any call %d destinations have statistics of calls, and %d calls were counted", have, calls)
	}
	callEach(t, p, server)
	if have, calls := counted(injected.Stats(t, r)); have != manyDestinations || calls != manyDestinations {
		t.Errorf("%d destinations have statistics of calls, and %d calls were counted; want %d", have, calls, manyDestinations)
	}
	costs(t, p, r, "each of them called", mostMemoryCalled)
	r.Kill()
	restart(t, p, r, images.Envoy)
}

// counted is how many destinations have statistics of calls, and how many calls they count.
func counted(stats map[string]uint64) (have int, calls uint64) {
	for n := range manyDestinations {
		if total, there := stats[fmt.Sprintf("cluster.destination-%d.upstream_rq_total", n)]; there {
			have, calls = have+1, calls+total
		}
	}
	return have, calls
}

// costs measures a sidecar and holds what it may cost.
func costs(t *testing.T, p *sandbox.Pod, r *sandbox.Running, what string, mostMemory int) {
	t.Helper()
	code, body := injected.Status(t, p, p, http.MethodGet, "/metrics")
	if code != http.StatusOK {
		t.Fatalf("/metrics: HTTP %d %s", code, body)
	}
	memory := residentOf(t, r.Envoy.PID())
	t.Logf("%s: Envoy %d MB, a scrape of %d KB and %d series", what, memory>>20, len(body)>>10, strings.Count(body, "\n")-strings.Count(body, "\n#"))
	if memory == 0 || memory > mostMemory || len(body) > mostScrape {
		t.Errorf("%s: Envoy has %d bytes and a scrape %d; held are %d and %d", what, memory, len(body), mostMemory, mostScrape)
	}
}

// callEach calls each destination once.
func callEach(t *testing.T, from, server *sandbox.Pod) {
	t.Helper()
	at := net.JoinHostPort(server.IPv4.String(), "8080")
	client := &http.Transport{DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
		return from.DialToSpeak(ctx, network, at)
	}, DisableKeepAlives: true}
	for n := range manyDestinations {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+host(n)+":8080/", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.RoundTrip(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusOK {
			t.Fatalf("%s: HTTP %d", host(n), response.StatusCode)
		}
	}
}

// restart starts the container once more, with a DNS that nobody hears from: Envoy is live
// before its resolver has tried a second time for all names, and then the pod is ready.
func restart(t *testing.T, p *sandbox.Pod, r *sandbox.Running, image sandbox.Image) {
	t.Helper()
	asked := func(n int) int { return p.DNS.Queries(host(n) + ".default.svc.cluster.local") }
	before := make([]int, manyDestinations)
	for n := range before {
		before[n] = asked(n)
	}
	p.DNS.Slow(1000 * time.Hour)
	began := time.Now()
	again := p.StartContainer(t, r.Sidecar(), image, r.Volumes)
	sandbox.Eventually(t, "Envoy is live", time.Minute, func() bool { return live(r) })
	tries := map[int]int{}
	for n := range before {
		tries[asked(n)-before[n]]++
	}
	t.Logf("a container that was killed, with a resolver that never answers: Envoy is live after %s, when destinations had been asked for so many times: %v",
		time.Since(began).Round(10*time.Millisecond), tries)
	if tries[0]+tries[1] == 0 {
		t.Error("Envoy has waited for its resolver, which tries twice for each name")
	}
	if out, err := again.Exec(t.Context(), r.Sidecar().StartupProbe.Exec.Command...); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("the pod is ready after %s", time.Since(began).Round(10*time.Millisecond))
}

// live says whether Envoy's admin interface is there and says so.
func live(r *sandbox.Running) bool {
	socket := filepath.Join(r.Volumes[injector.RunVolume], bootstrap.AdminSocket)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}}
	response, err := client.Get("http://admin/ready")
	if err != nil {
		return false
	}
	_ = response.Body.Close()
	return response.StatusCode == http.StatusOK
}

func inForce(tb testing.TB, p *sandbox.Pod) string {
	tb.Helper()
	var is lifecycle.MeshStatus
	_, body := injected.Status(tb, p, p, http.MethodGet, lifecycle.MeshStatusPath)
	if err := json.Unmarshal([]byte(body), &is); err != nil {
		tb.Fatalf("%v: %s", err, body)
	}
	if is.State == lifecycle.MeshRejected {
		tb.Fatal(is.Reason)
	}
	if is.Running == nil || is.State != lifecycle.MeshApplied {
		return ""
	}
	return is.Running.Version
}

// residentOf is the resident memory of the largest child of a process: Envoy.
func residentOf(t *testing.T, parent int) (bytes int) {
	t.Helper()
	statuses, err := filepath.Glob("/proc/[0-9]*/status")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range statuses {
		content, err := os.ReadFile(path)
		if err != nil {
			continue
		}
		fields := map[string]string{}
		for line := range strings.Lines(string(content)) {
			name, value, _ := strings.Cut(line, ":")
			fields[name] = strings.TrimSuffix(strings.TrimSpace(value), " kB")
		}
		if fields["PPid"] == strconv.Itoa(parent) {
			kilobytes, _ := strconv.Atoi(fields["VmRSS"])
			bytes = max(bytes, kilobytes<<10)
		}
	}
	return bytes
}
