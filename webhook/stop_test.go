package webhook

import (
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/injector"
)

// On SIGTERM: unready at once, answering as before for the delay, each client
// asked to go elsewhere, the requests in flight answered at the end.
func TestStopLosesNoRequest(t *testing.T) {
	r := start(t, func(o *Options) { o.ShutdownDelay = 2 * time.Second })
	r.untilReady(t)
	client := r.httpClient(t)
	if response, err := r.review(client); err != nil || response.Close {
		t.Fatalf("before: %v, %v", response, err)
	}
	r.stop()
	eventually(t, "stopping", r.stopping.Load)
	if status, body := r.status(t, "/readyz"); status != http.StatusServiceUnavailable || body != "stopping\n" {
		t.Errorf("got HTTP %d %q", status, body)
	}
	if response, err := r.review(client); err != nil || !response.Close {
		t.Errorf("while stopping: %v, %v", response, err)
	}
	release, inside := make(chan struct{}), make(chan struct{})
	r.configuration.current.Store(&loaded{inject: func(injector.Request) injector.Result {
		close(inside)
		<-release
		return injected()
	}})
	last := make(chan error, 1)
	go func() {
		_, err := r.review(client)
		last <- err
	}()
	<-inside
	eventually(t, "no new connections", func() bool {
		c, err := net.Dial("tcp", r.Address().String())
		if err == nil {
			c.Close()
		}
		return err != nil
	})
	close(release)
	if err := <-last; err != nil {
		t.Errorf("the request in flight was lost: %v", err)
	}
	if err := <-r.done; err != nil {
		t.Errorf("stopping: %v", err)
	}
}

func TestPprofIsOffUnlessAskedFor(t *testing.T) {
	for _, on := range []bool{false, true} {
		r := start(t, func(o *Options) { o.Pprof = on })
		if status, _ := r.status(t, "/debug/pprof/cmdline"); (status == http.StatusOK) != on {
			t.Errorf("asked for %v: HTTP %d", on, status)
		}
	}
}

func TestMetricsAreServed(t *testing.T) {
	r := start(t, nil)
	r.untilReady(t)
	_, metrics := r.status(t, "/metrics")
	for _, want := range []string{
		`pillion_webhook_admissions_total{dry_run="false",reason="Injected",verdict="inject"} 0`,
		`pillion_webhook_requests_failed_total{reason="Overload"} 0`,
		`pillion_webhook_request_duration_seconds_bucket{outcome="inject",le="0.0001"} `, // the webhook asks itself, and may be as quick
		`pillion_webhook_requests_in_flight 0`,
		`pillion_webhook_config_info{hash="` + r.configuration.Hash() + `"} 1`,
		`pillion_webhook_config_last_reload_successful 1`,
		`pillion_webhook_config_last_reload_success_timestamp_seconds `,
		`pillion_webhook_certificate_last_reload_successful 1`,
		`pillion_webhook_certificate_expiry_timestamp_seconds `,
		`pillion_webhook_build_info{go_version="go`,
		`pillion_webhook_panics_total 0`,
		"go_goroutines ", "process_resident_memory_bytes ",
	} {
		if !strings.Contains(metrics, "\n"+want) {
			t.Errorf("there is no %s", want)
		}
	}
}

// TestStopWaitsForClients: a connection that is idle is not closed from here, where a
// request may be on its way to it, but waited for; when it is closed, that is the end.
func TestStopWaitsForClients(t *testing.T) {
	r := start(t, func(o *Options) { o.DrainTimeout = time.Hour })
	r.untilReady(t)
	client := r.httpClient(t)
	if _, err := r.review(client); err != nil {
		t.Fatal(err)
	}
	r.stop()
	eventually(t, "stopping", r.stopping.Load)
	for range 5 {
		time.Sleep(2 * drainInterval)
		select {
		case err := <-r.done:
			t.Fatalf("it stopped with a connection open: %v", err)
		default:
		}
	}
	// It is still good, once.
	if response, err := r.review(client); err != nil || !response.Close {
		t.Errorf("got %v, %v", response, err)
	}
	if err := <-r.done; err != nil {
		t.Errorf("stopping: %v", err)
	}
}
