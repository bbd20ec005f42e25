package bootstrap

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
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

// Both listeners are active, on the addresses that the redirect leads to and no others.
func TestListeners(t *testing.T) {
	both, v4, v6 := full(), full(), full()
	v4.IPv6, v6.IPv4 = false, false
	for _, test := range []struct {
		config Config
		want   []string
	}{
		{both, []string{"inbound::[::]:15006", "outbound::127.0.0.1:15001", "outbound::[::1]:15001"}},
		{v4, []string{"inbound::0.0.0.0:15006", "outbound::127.0.0.1:15001"}},
		{v6, []string{"inbound::[::]:15006", "outbound::[::1]:15001"}},
	} {
		_, body := start(t, sandbox.NewPod(t, "pod"), inFolder(test.config, ""))("http://admin/listeners")
		got := strings.Fields(body)
		slices.Sort(got)
		if !slices.Equal(got, test.want) {
			t.Errorf("listeners %q, want %q", got, test.want)
		}
	}
}

// TestNoCircle connects to Envoy's own ports, past the redirect: the connection ends.
// Envoy, asking the kernel, hears that its own port is where it was going, and must not
// go there.
func TestNoCircle(t *testing.T) {
	p := sandbox.NewPod(t, "pod")
	ask := start(t, p, inFolder(full(), ""))
	redirect(t, p)
	own := []string{"127.0.0.1:15001", "[::1]:15001", p.IPv4.String() + ":15006", net.JoinHostPort(p.IPv6.String(), "15006")}
	for _, address := range own {
		// With and without a request: an HTTP client would be led through other filters.
		for _, said := range []string{"GET / HTTP/1.0\r\n\r\n", "\x00"} {
			c, err := p.Dial(t.Context(), "tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			_ = c.SetDeadline(time.Now().Add(10 * time.Second))
			_, _ = io.WriteString(c, said)
			if answer, err := io.ReadAll(c); len(answer) > 0 || errors.Is(err, os.ErrDeadlineExceeded) {
				t.Errorf("%s answered %q, %v to %q; want it closed", address, answer, err, said)
			}
			_ = c.Close()
		}
	}
	// Each made one connection, and none followed from it. Envoy counts some moments behind.
	const counted = "listener.inbound.downstream_cx_total: 4\nlistener.outbound.downstream_cx_total: 4\n"
	body := ""
	for deadline := time.Now().Add(5 * time.Second); body != counted && time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		_, body = ask(`http://admin/stats?filter=^listener\.(in|out)bound\.downstream_cx_total`)
	}
	if body != counted {
		t.Errorf("connections:\n%s", body)
	}
}
