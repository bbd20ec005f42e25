package sandbox

import (
	"net"
	"testing"
	"time"
)

// Serve listens on a port of the pod, on all addresses, and serves until the test's
// end.
func (p *Pod) Serve(tb testing.TB, port string, serve func(net.Listener) error) {
	tb.Helper()
	listener := p.Listen(tb, "tcp", ":"+port)
	go func() { _ = serve(listener) }()
}

// Eventually ends the test unless something becomes true in time.
func Eventually(tb testing.TB, what string, longest time.Duration, is func() bool) {
	tb.Helper()
	for deadline := time.Now().Add(longest); !is(); time.Sleep(30 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("not within %s: %s", longest, what)
		}
	}
}
