package dataplane

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/e2e/injected"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/injector"
)

// arguments gives the envoy container more arguments, or others in their place.
func arguments(change func([]string) []string) func(*corev1.Pod) {
	return func(pod *corev1.Pod) {
		for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
			for n := range list {
				if list[n].Name == injector.SidecarName {
					list[n].Args = change(list[n].Args)
				}
			}
		}
	}
}

// envoys adds arguments of Envoy's own.
func envoys(more ...string) func([]string) []string {
	return func(args []string) []string { return append(append(slices.Clone(args), "--"), more...) }
}

// belowDNS is less than a start takes that waits for slowDNS.
func belowDNS(config *v1alpha1.InjectorConfig) {
	config.Lifecycle.StartTimeout.Duration = 30 * time.Second
}

func shortStart(config *v1alpha1.InjectorConfig) {
	config.Lifecycle.StartTimeout.Duration = 5 * time.Second
}

// neverConfigured makes Envoy ask a control plane that is not there for its clusters,
// and wait for ever.
const neverConfigured = `{"dynamic_resources": {"cds_config": {"resource_api_version": "V3", "initial_fetch_timeout": "0s", "path_config_source": null,
	"api_config_source": {"api_type": "GRPC", "transport_api_version": "V3", "grpc_services": [{"envoy_grpc": {"cluster_name": "blackhole"}}]}}}}`

// TestPodsThatDoNotStart: whatever keeps Envoy from serving, the pod fails in bounded
// time, and kubectl shows a sentence that says why.
func TestPodsThatDoNotStart(t *testing.T) {
	t.Parallel()
	for _, mode := range []v1alpha1.SidecarMode{v1alpha1.ModeNative, v1alpha1.ModeClassic} {
		for _, test := range []struct {
			name   string
			change func(*corev1.Pod)
			runs   bool // Envoy runs on
			says   []string
		}{
			{"a configuration that never comes", arguments(envoys("--config-yaml", neverConfigured)), true, []string{"waiting for Envoy to serve: not within 5s", "Envoy is not live yet", "the listener inbound is not active"}},
			{"an argument that Envoy does not know", arguments(envoys("--no-such-argument")), false, []string{"running Envoy: it ended with exit code 1", "no-such-argument"}},
			{"a bootstrap that Envoy refuses", arguments(envoys("--config-yaml", "{no_such_field: 1}")), false, []string{"running Envoy: it ended with exit code 1", "no_such_field"}},
		} {
			t.Run(string(mode)+"/"+test.name, func(t *testing.T) {
				p := sandbox.NewPod(t, "pod")
				began := time.Now()
				r, err := p.Run(t, podOf(t, "pod", want{mode: mode, configure: shortStart, change: test.change}), images(t, false), sandbox.App{Start: func() { t.Error("the app was started") }})
				if err == nil {
					t.Fatal("the pod started")
				}
				if took := time.Since(began); took > 40*time.Second {
					t.Errorf("it took %s to fail", took)
				}
				message := r.Envoy.TerminationMessage()
				for _, says := range test.says {
					if !strings.Contains(message, says) {
						t.Errorf("no %q in the termination message:\n%s", says, message)
					}
				}
				if !test.runs {
					r.Envoy.Wait(t, longest)
					return
				}
				// kubelet now runs the preStop hook and ends the container: that must not take
				// the whole drain.
				began = time.Now()
				r.Delete(t)
				if took := time.Since(began); took > 20*time.Second {
					t.Errorf("a pod that never served took %s to stop", took)
				}
			})
		}
	}
}

// TestEnvoyIsKilled: the container ends with it, and says how.
func TestEnvoyIsKilled(t *testing.T) {
	t.Parallel()
	r := run(t, sandbox.NewPod(t, "pod"), want{}, sandbox.App{})
	if err := unix.Kill(childOf(t, r.Envoy.PID()), unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := r.Envoy.Wait(t, longest); code != 137 {
		t.Errorf("exit code %d, want 137", code)
	}
	if got := r.Envoy.TerminationMessage(); !strings.HasPrefix(got, "running Envoy: it was ended by signal 9 (killed), which pillion-proxy did not send") {
		t.Errorf("termination message %q", got)
	}
}

// childOf is the first child of a process.
func childOf(t *testing.T, pid int) int {
	t.Helper()
	content, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	fields := strings.Fields(string(content))
	for task := range tasks(t, pid) {
		if more, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%s/children", pid, task)); err == nil {
			fields = append(fields, strings.Fields(string(more))...)
		}
	}
	if len(fields) == 0 {
		t.Fatalf("process %d has no child: %v", pid, err)
	}
	child, err := strconv.Atoi(fields[0])
	if err != nil {
		t.Fatal(err)
	}
	return child
}

func tasks(t *testing.T, pid int) map[string]bool {
	t.Helper()
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", pid))
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, e := range entries {
		names[e.Name()] = true
	}
	return names
}

// TestAdminSocketIsGone: the sidecar is not ready any more and says why; traffic goes
// on; and the pod can stop.
func TestAdminSocketIsGone(t *testing.T) {
	t.Parallel()
	p := sandbox.NewPod(t, "pod")
	r := run(t, p, want{}, serverApp(t, p))
	if err := os.Remove(filepath.Join(r.Volumes[injector.RunVolume], "admin.sock")); err != nil {
		t.Fatal(err)
	}
	// An answer may be some moments old.
	sandbox.Eventually(t, "/readyz says so", longest, func() bool {
		code, body := injected.Status(t, p, p, http.MethodGet, "/readyz")
		return code == http.StatusServiceUnavailable && strings.Contains(body, "the admin interface of Envoy does not answer")
	})

	code, body := injected.Status(t, p, p, http.MethodGet, "/metrics")
	if code != http.StatusOK || !strings.Contains(body, "pillion_proxy_envoy_scrape_failed 1") || !strings.Contains(body, "pillion_proxy_ready 0") {
		t.Errorf("/metrics: HTTP %d %s", code, body)
	}
	outside := sandbox.NewPod(t, "outside")
	if err := (client{outside, p.IPv4.String()}).unary(t.Context()); err != nil {
		t.Errorf("traffic: %v", err)
	}
	began := time.Now()
	out, err := r.Envoy.Exec(t.Context(), "/pillion/bin/pillion-proxy", "drain", "--pre-drain-delay=30s", "--drain-time=30s")
	if err != nil || !strings.Contains(out, "nothing to drain") || time.Since(began) > 25*time.Second {
		t.Errorf("drain: %v after %s: %s", err, time.Since(began), out)
	}
}

// TestDiskIsFull: the sidecar says so rather than starting with half a configuration.
func TestDiskIsFull(t *testing.T) {
	t.Parallel()
	p := sandbox.NewPod(t, "pod")
	pod := podOf(t, "pod", want{})
	r, err := p.Run(t, pod, images(t, false), sandbox.App{})
	if err != nil {
		t.Fatal(err)
	}
	full := r.Volumes[injector.RunVolume]
	r.Kill()
	if err := unix.Mount("tmpfs", full, "tmpfs", 0, "size=8k,mode=777"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Unmount(full, 0) })
	_ = os.WriteFile(full+"/filler", make([]byte, 8192), 0o600)
	again := p.StartContainer(t, r.Sidecar(), images(t, false).Envoy, r.Volumes)
	if code := again.Wait(t, longest); code != 1 || !strings.Contains(again.TerminationMessage(), "the volume pillion-run is full") {
		t.Errorf("exit code %d, termination message %q", code, again.TerminationMessage())
	}
}

// TestContainerRestarts: what an earlier container left in the volume does not matter.
func TestContainerRestarts(t *testing.T) {
	t.Parallel()
	p := sandbox.NewPod(t, "pod")
	r := run(t, p, want{}, sandbox.App{})
	if err := os.WriteFile(filepath.Join(r.Volumes[injector.RunVolume], "draining"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r.Kill()
	again := p.StartContainer(t, r.Sidecar(), images(t, false).Envoy, r.Volumes)
	if out, err := again.Exec(t.Context(), r.Sidecar().StartupProbe.Exec.Command...); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if code, body := injected.Status(t, p, p, http.MethodGet, "/readyz"); code != http.StatusOK {
		t.Errorf("/readyz: HTTP %d %s", code, body)
	}
}

// slowDNS is a declared destination whose name nobody resolves, for which Envoy asks for
// more than a minute.
const slowDNS = `{"static_resources": {"clusters": [{"name": "declared", "type": "STRICT_DNS", "connect_timeout": "1s", "wait_for_warm_on_init": false,
	"typed_dns_resolver_config": {"name": "envoy.network.dns_resolver.cares", "typed_config": {
		"@type": "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig", "query_timeout_seconds": 90}},
	"load_assignment": {"cluster_name": "declared", "endpoints": [{"lb_endpoints": [{"endpoint": {"address": {"socket_address": {"address": "payments.test", "port_value": 80}}}}]}]}}]}}`

// TestResolverIsBlackHoled: the start does not wait for DNS.
func TestResolverIsBlackHoled(t *testing.T) {
	t.Parallel()
	p := sandbox.NewPod(t, "pod")
	resolv := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(resolv, []byte("nameserver 192.0.2.53\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	// What is sent there is lost on the way, and nobody is told.
	p.Output(t, "ip", "route", "add", "192.0.2.53", "dev", "eth0")
	p.Output(t, "ip", "neigh", "add", "192.0.2.53", "lladdr", "02:00:00:00:00:01", "dev", "eth0")
	with := images(t, false)
	with.Envoy["/etc/resolv.conf"] = resolv
	if _, err := p.Run(t, podOf(t, "pod", want{configure: belowDNS, change: arguments(envoys("--config-yaml", slowDNS))}), with, sandbox.App{}); err != nil {
		t.Error(err)
	}
}

// TestStatusPort holds what the status port answers, and to whom.
func TestStatusPort(t *testing.T) {
	t.Parallel()
	p, other := sandbox.NewPod(t, "pod"), sandbox.NewPod(t, "other")
	run(t, p, want{}, serverApp(t, p))
	if err := (client{other, p.IPv4.String()}).unary(t.Context()); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		method, path string
		code         int
		says         string
	}{
		{http.MethodGet, "/healthz", 200, "Envoy runs."}, {http.MethodGet, "/readyz", 200, "Envoy serves."},
		{http.MethodPost, "/quitquitquit", 403, "is for Jobs"}, {http.MethodGet, "/quitquitquit", 404, "POST /quitquitquit"},
		{http.MethodGet, "/", 404, "GET /metrics"}, {http.MethodGet, "/stats", 404, "The status port has"},
	} {
		if code, body := injected.Status(t, other, p, test.method, test.path); code != test.code || !strings.Contains(body, test.says) {
			t.Errorf("%s %s: HTTP %d %q, want %d and %q", test.method, test.path, code, body, test.code, test.says)
		}
	}
	_, body := injected.Status(t, other, p, http.MethodGet, "/metrics")
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(body))
	if err != nil {
		t.Fatalf("/metrics: %v\n%s", err, body)
	}
	for _, name := range []string{
		"pillion_proxy_info", "pillion_proxy_ready", "pillion_proxy_start_seconds", "envoy_server_live",
		"envoy_http_downstream_rq_total", "envoy_cluster_upstream_cx_total", "envoy_listener_downstream_cx_active",
	} {
		if families[name] == nil {
			t.Errorf("there is no metric %s", name)
		}
	}
	series := 0
	for name, family := range families {
		series += len(family.GetMetric())
		if strings.Contains(name, "worker") || strings.Contains(name, "http3") {
			t.Errorf("%s is of no use to anybody", name)
		}
	}
	if series > 200 {
		t.Errorf("%d series for a sidecar that does nothing special", series)
	}
}

// TestQuitQuitQuit ends the sidecar of a Job in classic mode, for the pod's own
// containers only.
func TestQuitQuitQuit(t *testing.T) {
	t.Parallel()
	p, other := sandbox.NewPod(t, "pod"), sandbox.NewPod(t, "other")
	r := run(t, p, want{mode: v1alpha1.ModeClassic, change: arguments(func(args []string) []string {
		return append(slices.DeleteFunc(slices.Clone(args), func(a string) bool { return a == "--stay-for-app=true" }), "--quit-with-app=true")
	})}, sandbox.App{})
	if code, body := injected.Status(t, other, p, http.MethodPost, "/quitquitquit"); code != 403 || !r.Envoy.Running() {
		t.Errorf("from another pod: HTTP %d %s", code, body)
	}
	if code, body := injected.Status(t, p, p, http.MethodPost, "/quitquitquit"); code != 200 {
		t.Errorf("from the pod itself: HTTP %d %s", code, body)
	}
	if code := r.Envoy.Wait(t, longest); code != 0 {
		t.Errorf("exit code %d", code)
	}
}
