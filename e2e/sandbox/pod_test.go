package sandbox

import (
	"context"
	"errors"
	"io"
	"net"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

func TestMain(m *testing.M) { Main(m) }

func TestPodsReachEachOther(t *testing.T) {
	a, b := NewPod(t, "a"), NewPod(t, "b")
	listener := b.Listen(t, "tcp", ":8080")
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, c.RemoteAddr().(*net.TCPAddr).IP.String())
			_ = c.Close()
		}
	}()
	for from, to := range map[string]string{a.IPv4.String(): b.IPv4.String(), a.IPv6.String(): b.IPv6.String()} {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		t.Cleanup(cancel)
		c, err := a.Dial(ctx, "tcp", net.JoinHostPort(to, "8080"))
		if err != nil {
			t.Fatal(err)
		}
		said, _ := io.ReadAll(c)
		if string(said) != from {
			t.Errorf("b saw %s, want %s", said, from)
		}
	}
}

// What a client says first is there as soon as its connection is.
func TestDialToSpeak(t *testing.T) {
	a, b := NewPod(t, "a"), NewPod(t, "b")
	listener := b.Listen(t, "tcp", ":8080")
	for _, to := range []string{b.IPv4.String(), b.IPv6.String()} {
		c, err := a.DialToSpeak(t.Context(), "tcp", net.JoinHostPort(to, "8080"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
		// Nobody hears of a connection without words.
		_ = listener.(*net.TCPListener).SetDeadline(time.Now().Add(100 * time.Millisecond))
		if _, err := listener.Accept(); err == nil {
			t.Error("a connection has come before the client spoke")
		}
		_ = listener.(*net.TCPListener).SetDeadline(time.Time{})
		long := strings.Repeat("hello", 100_000)
		go func() { _, _ = io.WriteString(c, long) }()
		server, err := listener.Accept()
		if err != nil {
			t.Fatal(err)
		}
		heard := make([]byte, len(long))
		_, err = io.ReadFull(server, heard)
		_ = server.Close()
		if err != nil || string(heard) != long {
			t.Errorf("%s: the server heard something else: %v", to, err)
		}
	}
	silent, err := a.DialToSpeak(t.Context(), "tcp", net.JoinHostPort(b.IPv4.String(), "8080"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := silent.Write(nil); err != nil {
		t.Errorf("connecting without a word: %v", err)
	}
	if server, err := listener.Accept(); err != nil {
		t.Error(err)
	} else {
		_ = server.Close()
	}
	_ = silent.Close()
	refused, err := a.DialToSpeak(t.Context(), "tcp", net.JoinHostPort(b.IPv4.String(), "8081"))
	if err != nil {
		t.Fatal(err)
	}
	_, _ = io.WriteString(refused, "hello")
	if _, err := refused.Read(make([]byte, 1)); !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("where nobody listens: %v", err)
	}
	_ = refused.Close()
}

// Rules of one pod are nobody else's.
func TestRulesStayInThePod(t *testing.T) {
	a, b := NewPod(t, "a"), NewPod(t, "b")
	a.Output(t, "nft", "add table inet here")
	if got := a.Output(t, "nft", "list tables"); !strings.Contains(got, "here") {
		t.Errorf("the pod with the table has %q", got)
	}
	if got := b.Output(t, "nft", "list tables"); got != "" {
		t.Errorf("another pod has %q", got)
	}
}
