package dataplane

import (
	"context"
	"encoding/json"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/e2e/injected"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
	"github.com/pillion-mesh/pillion/injector"
)

// connections that keep-alive clients hold in TestStaleAddress.
const staleConnections = 20

// TestStaleAddress lets the pod that clients are connected to vanish. The clients'
// own connections end at Envoy, so that they do not notice; without help Envoy would
// answer each request on them with 503 for ever. With it each connection sees one
// error at most, and then goes where DNS says.
func TestStaleAddress(t *testing.T) {
	c := run(t, sandbox.NewPod(t, "client"), want{}, sandbox.App{})
	once := staleErrors(t, c, true)
	removeLua(t, c)
	forever := staleErrors(t, c, false)
	for n := range once {
		if once[n] > 1 {
			t.Errorf("connection %d saw %d errors, want one at most", n, once[n])
		}
	}
	for n := range forever {
		if forever[n] < 5 {
			t.Fatalf("without the recovery connection %d saw %d errors of 5 requests, so this test cannot fail", n, forever[n])
		}
	}
}

// staleErrors are the errors that each connection sees in five requests behind the
// end of a pod, with the recovery or without.
func staleErrors(t *testing.T, c *sandbox.Running, recovery bool) []int {
	t.Helper()
	first, second := sandbox.NewPod(t, "first"), sandbox.NewPod(t, "second")
	app := serverApp(t, first)
	app.Start()
	serverApp(t, second).Start()
	var dns names
	dns.set(addresses(first))

	awaitRecovery(t, c, first, recovery)
	transports := make([]*http.Transport, staleConnections)
	for n := range transports {
		transports[n] = &http.Transport{DialContext: traffic.Dialer(c.Pod, func() string { return dns.lookup(0).String() }, httpPort)}
		if err := get(t, transports[n]); err != nil {
			t.Fatal(err)
		}
	}
	app.Kill()
	dns.set(addresses(second))
	errors := make([]int, staleConnections)
	for range 5 {
		for n, transport := range transports {
			if get(t, transport) != nil {
				errors[n]++
			}
		}
	}
	return errors
}

// awaitRecovery returns when new connections have the recovery or have it no more:
// it takes a header off that Envoy's router adds.
func awaitRecovery(t *testing.T, c *sandbox.Running, server *sandbox.Pod, want bool) {
	t.Helper()
	for deadline := time.Now().Add(longest); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, client{c.Pod, server.IPv4.String()}.url("http", httpPort, "/"), http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		response, err := traffic.Do(client{c.Pod, server.IPv4.String()}.transport(), request, "GET / 0 bytes")
		if err == nil && (response.Header.Get("X-Envoy-Upstream-Service-Time") == "") == want {
			return
		}
	}
	t.Fatalf("after %s the listener still has not the recovery: %t", longest, want)
}

// get asks without a body: Envoy ends a connection by itself if it answers before it
// has read all of the request.
func get(t *testing.T, transport *http.Transport) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), longest)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://server:"+httpPort+"/", http.NoBody)
	if err != nil {
		return err
	}
	_, err = traffic.Do(transport, request, "GET / 0 bytes")
	return err
}

// removeLua takes the recovery out of a running sidecar's listeners, for a control.
func removeLua(t *testing.T, r *sandbox.Running) {
	t.Helper()
	changeFile(t, r, "lds.json", "listener_manager.lds.update_success", func(value map[string]any) bool {
		filters, ok := value["http_filters"].([]any)
		if !ok {
			return false
		}
		value["http_filters"] = filters[len(filters)-1:] // the router is the last
		return true
	})
}

// changeFile changes objects in one of the files that Envoy watches, and waits until
// Envoy has taken it.
func changeFile(t *testing.T, r *sandbox.Running, name, updated string, change func(map[string]any) bool) {
	t.Helper()
	path := filepath.Join(r.Volumes[injector.RunVolume], "xds", name)
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var document any
	if err := json.Unmarshal(content, &document); err != nil {
		t.Fatal(err)
	}
	if changes := walk(document, change); changes == 0 {
		t.Fatalf("nothing was changed in %s", path)
	}
	document.(map[string]any)["version_info"] = "changed"
	if content, err = json.Marshal(document); err != nil {
		t.Fatal(err)
	}
	before := injected.Stats(t, r)[updated]
	if err := os.WriteFile(path+".new", content, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(longest); ; time.Sleep(20 * time.Millisecond) {
		// What is warming does not serve yet.
		if now := injected.Stats(t, r); now[updated] > before && now["listener_manager.total_listeners_warming"] == 0 {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("Envoy does not take %s: %s", path, r.Envoy.Logs())
		}
	}
}

// walk calls change for every object, and counts how often it changed one.
func walk(value any, change func(map[string]any) bool) int {
	changes := 0
	switch value := value.(type) {
	case map[string]any:
		if change(value) {
			changes++
		}
		for _, inner := range value {
			changes += walk(inner, change)
		}
	case []any:
		for _, inner := range value {
			changes += walk(inner, change)
		}
	}
	return changes
}
