package bootstrap

import (
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/e2e/envoy"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

func TestMain(m *testing.M) { sandbox.Main(m) }

// proxyGroup is Envoy's, by which redirect knows what Envoy itself opens.
const proxyGroup = 15033

// start runs Envoy with a configuration in a pod, in a folder of its own, and is its
// admin interface.
func start(t *testing.T, p *sandbox.Pod, c Config) (ask func(path string) (int, string)) {
	t.Helper()
	if c.Folder == "" {
		c.Folder = t.TempDir()
	}
	if err := os.Mkdir(filepath.Join(c.Folder, XDSFolder), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, file := range New(c) {
		if err := os.WriteFile(filepath.Join(c.Folder, file.Name), file.Content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.Command(envoy.Path(t), "--config-path", filepath.Join(c.Folder, BootstrapFile), "--disable-hot-restart", "--concurrency", "1", "--log-level", "warning")
	command.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Gid: proxyGroup}}
	var log strings.Builder
	command.Stdout, command.Stderr = &log, &log
	if err := p.Start(command); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		if t.Failed() {
			t.Log(log.String())
		}
	})
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		if strings.HasPrefix(address, "admin:") {
			return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(c.Folder, AdminSocket))
		}
		return p.Dial(ctx, network, address)
	}, DisableKeepAlives: true}, Timeout: 5 * time.Second}
	ask = func(path string) (int, string) {
		response, err := client.Get(path)
		if err != nil {
			return 0, err.Error()
		}
		defer response.Body.Close()
		body, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(body)
	}
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		// It is live somewhat earlier than it accepts connections.
		if _, body := ask("http://admin/stats?filter=workers_started"); body == "listener_manager.workers_started: 1\n" {
			return ask
		}
	}
	t.Fatal("Envoy does not start")
	return nil
}

func inFolder(c Config, folder string) Config {
	c.Folder = folder
	return c
}

// The admin interface answers what it has to and nothing else, for its own user.
func TestAdminPaths(t *testing.T) {
	ask := start(t, sandbox.NewPod(t, "pod"), inFolder(full(), ""))
	for _, path := range []string{"/ready", "/stats?filter=server", "/stats/prometheus", "/listeners?format=json", "/config_dump?resource=dynamic_route_configs", "/server_info", "/runtime"} {
		if status, body := ask("http://admin" + path); status != http.StatusOK {
			t.Errorf("%s: HTTP %d %s", path, status, body)
		}
	}
	for _, path := range []string{"/", "/quitquitquit", "/logging?level=trace", "/healthcheck/fail", "/memory", "/certs", "/cpuprofiler", "/stats/recentlookups", "/reset_counters", "/readyz", "/statsx"} {
		if status, body := ask("http://admin" + path); status != http.StatusForbidden {
			t.Errorf("%s: HTTP %d %.100s, want 403", path, status, body)
		}
	}
	for _, path := range AdminPaths() {
		if status, _ := ask("http://admin" + path); status == http.StatusForbidden || status == 0 {
			t.Errorf("%s: HTTP %d", path, status)
		}
	}
}

// Both listeners are active, on the addresses that the redirect leads to, and a
// connection to one of their own ports ends rather than going round in a circle.
func TestListeners(t *testing.T) {
	both, v4 := full(), full()
	v4.IPv6 = false
	for _, test := range []struct {
		config Config
		want   []string
	}{
		{both, []string{"inbound::[::]:15006", "outbound::127.0.0.1:15001", "outbound::[::1]:15001"}},
		{v4, []string{"inbound::0.0.0.0:15006", "outbound::127.0.0.1:15001"}},
	} {
		ask := start(t, sandbox.NewPod(t, "pod"), inFolder(test.config, ""))
		_, body := ask("http://admin/listeners")
		got := strings.Fields(body)
		slices.Sort(got)
		if !slices.Equal(got, test.want) {
			t.Errorf("listeners %q, want %q", got, test.want)
		}
		for _, port := range []string{"15001", "15006"} {
			if status, body := ask("http://127.0.0.1:" + port + "/"); status != 0 || !strings.Contains(body, "EOF") && !strings.Contains(body, "reset by peer") {
				t.Errorf("port %s answered HTTP %d %s", port, status, body)
			}
		}
		// Each made a connection, or a second one where the client tried again; no more
		// followed from them. Envoy counts some moments behind.
		counted := regexp.MustCompile(`\A(listener\.(in|out)bound\.downstream_cx_total: [12]\n){2}\z`)
		for deadline := time.Now().Add(5 * time.Second); !counted.MatchString(body) && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			_, body = ask(`http://admin/stats?filter=^listener\.(in|out)bound\.downstream_cx_total`)
		}
		if !counted.MatchString(body) {
			t.Errorf("connections:\n%s", body)
		}
	}
}
