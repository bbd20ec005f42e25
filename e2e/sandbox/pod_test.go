package sandbox

import (
	"context"
	"io"
	"net"
	"strings"
	"testing"
	"time"
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
