package dataplane

import (
	"encoding/json"
	"fmt"
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
	"github.com/pillion-mesh/pillion/lifecycle"
	"github.com/pillion-mesh/pillion/mesh"
)

const (
	manyDestinations = 1000
	// What a sidecar with that many is held to: Envoy without deferred statistics and
	// without a choice of them takes 148 MB and answers a scrape with 13 MB.
	mostMemory = 148 << 20
	mostScrape = 1 << 20
)

// calling is a generation with so many destinations, of which DNS knows the hosts.
func calling(t *testing.T, dns *sandbox.DNS, destinations int) *bootstrap.Generation {
	t.Helper()
	document := &v1alpha1.MeshService{ObjectMeta: metav1.ObjectMeta{
		Name: "shop", Namespace: "default", Generation: int64(destinations) + 1, CreationTimestamp: metav1.Unix(1_700_000_000, 0),
	}}
	for n := range destinations {
		host := fmt.Sprintf("destination-%d.test", n)
		dns.Set(host, netip.AddrFrom4([4]byte{198, 18, byte(n >> 8), byte(n)}))
		document.Spec.Egress = append(document.Spec.Egress, v1alpha1.Destination{Name: fmt.Sprint("destination-", n), Host: host, Port: 8080})
	}
	v1alpha1.DefaultMeshService(document)
	service, err := mesh.Resolve(document)
	if err != nil {
		t.Fatal(err)
	}
	g, err := envoy.Render(service)
	if err != nil {
		t.Fatal(err)
	}
	return g
}

// TestThousandDestinations measures what they cost a sidecar, and holds its memory and
// the size of a scrape.
func TestThousandDestinations(t *testing.T) {
	needsRoot(t)
	if err := programs(); err != nil {
		t.Fatal(err)
	}
	p, config := sandbox.NewPod(t, "shop"), sandbox.NewConfigMap(t)
	p.DNS, p.ConfigMaps = sandbox.NewDNS(t), map[string]*sandbox.ConfigMap{v1alpha1.MeshConfigMap("shop"): config}
	images := injected.Images(t, folder)
	r, err := p.Run(t, plainPod(t, "shop"), images, sandbox.App{})
	if err != nil {
		t.Fatal(err)
	}
	report := func(what string) (memory, scrape int) {
		code, body := injected.Status(t, p, p, http.MethodGet, "/metrics")
		if code != http.StatusOK {
			t.Fatalf("/metrics: HTTP %d %s", code, body)
		}
		memory = residentOf(t, r.Envoy.PID())
		t.Logf("%s: Envoy %d MB, a scrape of %d KB and %d series", what, memory>>20, len(body)>>10, strings.Count(body, "\n")-strings.Count(body, "\n#"))
		return memory, len(body)
	}
	report("no destination")
	for _, n := range []int{1, manyDestinations} {
		g := calling(t, p.DNS, n)
		data, err := g.Seal()
		if err != nil {
			t.Fatal(err)
		}
		began := time.Now()
		config.Write(t, map[string][]byte{bootstrap.GenerationFile: data})
		sandbox.Eventually(t, "it is in force", time.Minute, func() bool { return inForce(t, p) == g.Version })
		t.Logf("%d destinations: %d KB of generation, in force after %s", n, len(data)>>10, time.Since(began).Round(10*time.Millisecond))
		memory, scrape := report(fmt.Sprint(n, " destinations"))
		if memory > mostMemory || scrape > mostScrape {
			t.Errorf("with %d destinations Envoy has %d bytes and a scrape %d; held are %d and %d", n, memory, scrape, mostMemory, mostScrape)
		}
	}
	r.Kill()
	p.DNS.Slow(1000 * time.Hour) // nobody hears from it
	began := time.Now()
	again := p.StartContainer(t, r.Sidecar(), images.Envoy, r.Volumes)
	if out, err := again.Exec(t.Context(), r.Sidecar().StartupProbe.Exec.Command...); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	t.Logf("a container that was killed, with a resolver that never answers: ready after %s", time.Since(began).Round(10*time.Millisecond))
}

func inForce(t *testing.T, p *sandbox.Pod) string {
	t.Helper()
	var is lifecycle.MeshStatus
	_, body := injected.Status(t, p, p, http.MethodGet, lifecycle.MeshStatusPath)
	if err := json.Unmarshal([]byte(body), &is); err != nil {
		t.Fatalf("%v: %s", err, body)
	}
	if is.State == lifecycle.MeshRejected {
		t.Fatal(is.Reason)
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
