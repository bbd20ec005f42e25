package injected

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/injector"
)

// StatusPort is that of a sidecar by default.
const StatusPort = "15020"

// Admin asks Envoy's admin interface in a pod, by its Unix socket.
func Admin(tb testing.TB, r *sandbox.Running, method, path string) string {
	tb.Helper()
	socket := filepath.Join(r.Volumes[injector.RunVolume], bootstrap.AdminSocket)
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	// Also when the test has ended, for those that say why it failed.
	request, err := http.NewRequestWithContext(context.WithoutCancel(tb.Context()), method, "http://admin"+path, http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		tb.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		tb.Fatalf("%s %s: HTTP %d, %v: %s", method, path, response.StatusCode, err, body)
	}
	return string(body)
}

// Stats are Envoy's counters and gauges.
func Stats(tb testing.TB, r *sandbox.Running) map[string]uint64 {
	tb.Helper()
	values := map[string]uint64{}
	for lines := bufio.NewScanner(strings.NewReader(Admin(tb, r, http.MethodGet, "/stats"))); lines.Scan(); {
		name, text, _ := strings.Cut(lines.Text(), ": ")
		if value, err := strconv.ParseUint(text, 10, 64); err == nil {
			values[name] = value
		}
	}
	return values
}

// Status asks the status port of a pod, from another pod or itself. Without an answer
// the code is 0 and the body the error.
func Status(tb testing.TB, from, of *sandbox.Pod, method, path string) (code int, body string) {
	tb.Helper()
	transport := &http.Transport{DialContext: from.Dial, DisableKeepAlives: true}
	request, err := http.NewRequestWithContext(tb.Context(), method, "http://"+net.JoinHostPort(of.IPv4.String(), StatusPort)+path, http.NoBody)
	if err != nil {
		tb.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	read, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(read)
}

// Ready waits until kubelet would call the pod ready.
func Ready(tb testing.TB, r *sandbox.Running) {
	tb.Helper()
	var err error
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if err = r.Ready(tb.Context()); err == nil {
			return
		}
	}
	tb.Fatalf("pod %s is not ready: %v\n%s", r.Name, err, r.Envoy.Logs())
}
