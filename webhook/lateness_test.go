package webhook

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestLateness: requests are turned away while goroutines wait for a processor, and
// only then.
func TestLateness(t *testing.T) {
	now := time.Now()
	for name, test := range map[string]struct {
		last, late time.Duration // before now
		tooMuch    bool
	}{
		"in time":                     {beat, 0, false},
		"late, not too late":          {beat, maxLateness, false},
		"too late":                    {beat, maxLateness + 1, true},
		"it did not run for too long": {maxLateness + beat + 1, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			var l lateness
			last := now.Add(-test.last)
			l.last.Store(&last)
			l.late.Store(int64(test.late))
			if err := l.exceeds(maxLateness, now); (err != nil) != test.tooMuch {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("not measured", func(t *testing.T) {
		if err := new(lateness).exceeds(maxLateness, now); err != nil {
			t.Error(err)
		}
	})
}

func TestLateRequestIsShedAtOnce(t *testing.T) {
	h, _ := newTestHandler(nil)
	aMinuteAgo := time.Now().Add(-time.Minute)
	h.lateness.last.Store(&aMinuteAgo)
	response := post(h, reviewOf(testPod))
	if response.Code != http.StatusServiceUnavailable || !strings.HasPrefix(response.Body.String(), "PIL091 Overload: work waits ") {
		t.Errorf("HTTP %d %q", response.Code, response.Body)
	}
	if response.Header().Get("Retry-After") == "" {
		t.Error("kube-apiserver would not ask again")
	}
}

// TestLateConnectionIsReset: a handshake is not begun that nobody has time for.
func TestLateConnectionIsReset(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var l lateness
	metrics := NewMetrics()
	accepted := make(chan net.Conn)
	connections := newConnections(listener, 10, time.Hour, &l, metrics)
	go func() {
		for {
			c, err := connections.Accept()
			if err != nil {
				return
			}
			accepted <- c
		}
	}()
	// read says how the server answers to a new connection, which can be before it is
	// known to be open.
	read := func() error {
		c, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		defer c.Close()
		_, err = c.Read(make([]byte, 1))
		return err
	}
	aMinuteAgo := time.Now().Add(-time.Minute)
	l.last.Store(&aMinuteAgo)
	if err := read(); !errors.Is(err, syscall.ECONNRESET) {
		t.Errorf("got %v, want a reset", err)
	}
	if n := value(t, metrics.connectionsShed.WithLabelValues(shedLate)); n != 1 {
		t.Errorf("%v are counted", n)
	}
	l.last.Store(nil)
	ended := make(chan error)
	go func() { ended <- read() }()
	(<-accepted).Close()
	if err := <-ended; !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want the end of a connection that was accepted", err)
	}
}
