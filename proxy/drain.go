package proxy

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// Drain is the sidecar's part of a pod's end:
//
//	0        PreDrainDelay            +DrainTime
//	|- serving as before -|- inbound clients are told to go -|
//
// and less where no client is left, or Envoy does not serve. It does what it can and
// says what it did: a hook that fails would only end the container sooner. Outbound
// traffic is left alone, since the app still runs.
func Drain(ctx context.Context, d lifecycle.Drain, folder string, out io.Writer) {
	say := func(format string, arguments ...any) {
		_, _ = fmt.Fprintf(out, "pillion-proxy: "+format+"\n", arguments...)
	}
	a := newAdmin(folder)
	if why := notServing(ctx, a); why != "" {
		say("nothing to drain: %s", why)
		return
	}
	say("serving for another %s, until clients have heard that the pod goes away", d.PreDrainDelay)
	if !pause(ctx, d.PreDrainDelay) {
		say("interrupted before the drain")
		return
	}
	if err := beginDraining(ctx, folder); err != nil {
		say("telling /readyz that the pod drains: %v", err)
	}
	for _, path := range [...]string{
		// Clients behind a sidecar of their own hear it by a header only.
		"/runtime_modify?" + bootstrap.DrainingRuntimeKey + "=100",
		"/drain_listeners?graceful&inboundonly&skip_exit",
	} {
		if _, err := a.ask(ctx, http.MethodPost, path); err != nil {
			say("draining: %v", err)
		}
	}
	say("draining inbound connections for %s at most", d.DrainTime)
	say("%s", untilQuiet(ctx, a, d.DrainTime))
}

// beginDraining says so to `run`, once that is not just changing Envoy's listeners:
// those that take the place of others do not know that they drain.
func beginDraining(ctx context.Context, folder string) error {
	const longest = 5 * time.Second
	unlock, err := lockFolder(folder)
	for over := time.Now().Add(longest); err != nil && time.Now().Before(over) && pause(ctx, firstPause); {
		unlock, err = lockFolder(folder)
	}
	if err == nil {
		defer unlock()
	}
	return os.WriteFile(filepath.Join(folder, draining), nil, 0o644)
}

// notServing says why there is nothing to drain; empty where there is.
func notServing(ctx context.Context, a *admin) string {
	body, err := a.ask(ctx, http.MethodGet, "/server_info")
	if err != nil {
		return err.Error()
	}
	if !strings.Contains(body, `"state": "LIVE"`) && !strings.Contains(body, `"state": "DRAINING"`) {
		return "Envoy has never served"
	}
	return ""
}

// quietTime is how long no client has to be connected until nobody is expected any
// more. A client behind its own sidecar may hold on to this pod without a connection
// to it: the sidecar closes those that lie unused for some seconds
// (lifecycle.Run.UpstreamIdle), and opens a new one for the client's next request.
const quietTime = 5 * time.Second

// untilQuiet returns when no client has been connected for some time or ever, when
// the time is over, or when Envoy is gone, and says which.
func untilQuiet(ctx context.Context, a *admin, longest time.Duration) string {
	over, quietSince := time.Now().Add(longest), time.Now()
	for {
		active, ever, err := a.inboundConnections(ctx)
		switch {
		case ctx.Err() != nil:
			return "interrupted while draining"
		case err != nil:
			return "Envoy is gone: " + err.Error()
		case ever == 0:
			return "drained: no client has ever connected"
		case active > 0:
			quietSince = time.Now()
		case time.Since(quietSince) >= quietTime:
			return fmt.Sprintf("drained: no client has been connected for %s", quietTime)
		}
		left := time.Until(over)
		if left <= 0 {
			return fmt.Sprintf("the time is over with %d inbound connections left", active)
		}
		pause(ctx, min(left, 200*time.Millisecond))
	}
}

// pause is false where it was interrupted.
func pause(ctx context.Context, d time.Duration) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(d):
		return true
	}
}
