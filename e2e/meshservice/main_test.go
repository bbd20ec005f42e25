// Package meshservice holds the promises of MeshService: each feature does what its
// owner was told, with a real Envoy and real traffic, in pods that were injected and that
// get their configuration as kubelet brings it. Beside each feature the same traffic
// runs without it, and has to show the trouble that the feature is for.
package meshservice

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/e2e/injected"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/envoy"
	"github.com/pillion-mesh/pillion/lifecycle"
	"github.com/pillion-mesh/pillion/mesh"
)

// programs are what is tested.
var programs = injected.NewPrograms()

func TestMain(m *testing.M) { sandbox.Main(m, programs.Remove) }

// cluster is what a test's pods have in common.
type cluster struct {
	*testing.T
	dns *sandbox.DNS
	// alter changes what is rendered, for controls that no document can ask for.
	alter func(*bootstrap.Generation)
	// owner changes a pod with a MeshService before it is injected.
	owner func(*corev1.Pod)
}

func newCluster(t *testing.T) cluster {
	t.Helper()
	return cluster{T: t, dns: sandbox.NewDNS(t)}
}

// pod is one outside the mesh. DNS names lead to it.
func (c cluster) pod(name string, hosts ...string) *sandbox.Pod {
	c.Helper()
	p := sandbox.NewPod(c.T, name)
	for _, host := range hosts {
		c.dns.Set(host, p.IPv4)
	}
	return p
}

// meshed is a pod of a service that has a MeshService.
type meshed struct {
	*sandbox.Running
	cluster
	document   *sandbox.ConfigMap
	generation *bootstrap.Generation
	changes    int64
}

// meshed starts a pod of the service of its name, with the spec of the MeshService, and
// returns when that is in force.
func (c cluster) meshed(name, spec string, app sandbox.App) *meshed {
	c.Helper()
	return c.meshedIn(sandbox.NewPod(c.T, name), spec, app)
}

func (c cluster) meshedIn(p *sandbox.Pod, spec string, app sandbox.App) *meshed {
	c.Helper()
	m := &meshed{cluster: c, document: sandbox.NewConfigMap(c.T)}
	p.DNS, p.ConfigMaps = c.dns, map[string]*sandbox.ConfigMap{v1alpha1.MeshConfigMap(p.Name): m.document}
	m.write(p.Name, spec)
	running, err := p.Run(c.T, injected.Pod(c.T, v1alpha1.DefaultConfig(), p.Name, c.owner), programs.Images(c.T), app)
	if err != nil {
		c.Fatalf("starting pod %s: %v", p.Name, err)
	}
	m.Running = running
	c.Cleanup(m.explain)
	m.await()
	return m
}

// change puts another spec into force, while the pod runs.
func (m *meshed) change(spec string) {
	m.Helper()
	m.write(m.Name, spec)
	m.await()
}

// write renders a document as the controller does, and puts it where kubelet finds it.
func (m *meshed) write(service, spec string) {
	m.Helper()
	m.changes++
	var file []byte
	m.generation, file = m.render(service, spec, m.changes)
	m.document.Write(m.T, map[string][]byte{bootstrap.GenerationFile: file})
}

// decode reads a spec as its owner would write it, two spaces deep.
func decode(t *testing.T, service, spec string) *v1alpha1.MeshService {
	t.Helper()
	text := fmt.Sprintf("apiVersion: pillion.dev/v1alpha1\nkind: MeshService\nmetadata: {name: %s, namespace: default}\nspec:\n%s", service, indented(spec))
	document, err := v1alpha1.DecodeMeshService([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return document
}

// indented takes the tabs of Go's source off, and puts the lines below spec.
func indented(spec string) string {
	var lines strings.Builder
	for line := range strings.Lines(spec) {
		if line = strings.TrimLeft(line, "\t"); strings.TrimSpace(line) != "" {
			lines.WriteString("  " + line)
		}
	}
	return lines.String() + "\n"
}

func (c cluster) render(service, spec string, number int64) (*bootstrap.Generation, []byte) {
	c.Helper()
	document := decode(c.T, service, spec)
	document.Generation, document.CreationTimestamp = number, metav1.Unix(1_700_000_000, 0)
	resolved, err := mesh.Resolve(document)
	if err != nil {
		c.Fatal(err)
	}
	generation, err := envoy.Render(resolved)
	if err != nil {
		c.Fatal(err)
	}
	if c.alter != nil {
		c.alter(generation)
	}
	file, err := generation.Seal()
	if err != nil {
		c.Fatal(err)
	}
	return generation, file
}

// await waits until the sidecar runs its generation, and is ready.
func (m *meshed) await() {
	m.Helper()
	injected.Ready(m.T, m.Running)
	var body string
	for end := time.Now().Add(longest); time.Now().Before(end); time.Sleep(30 * time.Millisecond) {
		var status lifecycle.MeshStatus
		_, body = injected.Status(m.T, m.Pod, m.Pod, http.MethodGet, lifecycle.MeshStatusPath)
		if json.Unmarshal([]byte(body), &status) == nil && status.State == lifecycle.MeshApplied && status.Running.Version == m.generation.Version {
			return
		}
	}
	m.Fatalf("pod %s does not run version %s of its MeshService: %s", m.Name, m.generation.Version, body)
}

// explain says of a failed test what it may be due to: a client that a busy machine
// keeps from saying anything for a while after connecting is passed through, without
// what its destination or port is to have.
func (m *meshed) explain() {
	if !m.Failed() || !m.Envoy.Running() {
		return
	}
	for _, direction := range []string{bootstrap.Inbound, bootstrap.Outbound} {
		if silent := m.stat("listener." + direction + ".downstream_pre_cx_timeout"); silent > 0 {
			m.Logf("pod %s: %d %s connections were passed through, as their clients were silent: is the machine busy?", m.Name, silent, direction)
		}
	}
}

// stat is one of the Envoy's counters or gauges.
func (m *meshed) stat(name string) uint64 {
	m.Helper()
	return injected.Stats(m.T, m.Running)[name]
}
