package dataplane

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

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/injector"
)

// admin asks Envoy's admin interface in a pod, by its Unix socket.
func admin(t *testing.T, r *sandbox.Running, method, path string) string {
	t.Helper()
	socket := filepath.Join(r.Volumes[injector.RunVolume], "admin.sock")
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", socket)
	}}
	request, err := http.NewRequestWithContext(t.Context(), method, "http://admin"+path, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		t.Fatalf("%s %s: HTTP %d, %v: %s", method, path, response.StatusCode, err, body)
	}
	return string(body)
}

// stats are Envoy's counters and gauges.
func stats(t *testing.T, r *sandbox.Running) map[string]uint64 {
	t.Helper()
	values := map[string]uint64{}
	for lines := bufio.NewScanner(strings.NewReader(admin(t, r, http.MethodGet, "/stats"))); lines.Scan(); {
		name, text, _ := strings.Cut(lines.Text(), ": ")
		if value, err := strconv.ParseUint(text, 10, 64); err == nil {
			values[name] = value
		}
	}
	return values
}
