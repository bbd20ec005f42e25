package meshservice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/pillion-mesh/pillion/lifecycle"
)

// askerOf leads every connection to a server of the test, whatever the pod's address.
func askerOf(t *testing.T, server *httptest.Server) *asker {
	t.Helper()
	return newAsker(15020, func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, server.Listener.Addr().String())
	})
}

func TestAsk(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet || r.URL.Path != "/status" || r.Host != "10.1.2.3:15020" || r.Header.Get("Authorization") != "" {
			t.Errorf("%s %s of %s with %v", r.Method, r.URL, r.Host, r.Header)
		}
		_, _ = io.WriteString(w, `{"running":{"version":"a","number":1,"created":2},"wanted":null,"state":"Rejected","reason":"first line\nsecond\u001b[31m red\u0000"}`)
	}))
	t.Cleanup(server.Close)
	status, err := askerOf(t, server).ask(t.Context(), "10.1.2.3")
	if err != nil {
		t.Fatal(err)
	}
	if status.State != lifecycle.MeshRejected || status.Running.Version != "a" || status.Wanted != nil {
		t.Errorf("the answer is %+v", status)
	}
	if want := "first line second [31m red"; status.Reason != want {
		t.Errorf("the reason is %q, want %q: a pod's words are not to reach a terminal as they are", status.Reason, want)
	}
}

// TestAskTrustsNobody has pods that answer as a sidecar never does.
func TestAskTrustsNobody(t *testing.T) {
	var redirected atomic.Bool
	for name, test := range map[string]struct {
		answer http.HandlerFunc
		says   string
	}{
		"a redirect": {func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/status" {
				redirected.Store(true)
			}
			http.Redirect(w, r, "/elsewhere", http.StatusFound)
		}, "HTTP 302"},
		"an error": {func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNotFound) }, "HTTP 404: a sidecar of an older version"},
		"no JSON":  {func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "<html>") }, "reading the answer"},
		"too much": {func(w http.ResponseWriter, _ *http.Request) {
			_, _ = io.WriteString(w, strings.Repeat(" ", lifecycle.MaxMeshStatus+1))
		}, "more than 65536 bytes"},
		"what never ends": {func(w http.ResponseWriter, r *http.Request) {
			for r.Context().Err() == nil {
				_, _ = io.WriteString(w, strings.Repeat(" ", 4<<10))
			}
		}, "more than 65536 bytes"},
		"large header": {func(w http.ResponseWriter, _ *http.Request) { w.Header().Set("A", strings.Repeat("a", 64<<10)) }, "server response headers exceeded"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(test.answer)
			t.Cleanup(server.Close)
			status, err := askerOf(t, server).ask(t.Context(), "10.1.2.3")
			if err == nil || !strings.Contains(err.Error(), test.says) || status != nil {
				t.Errorf("the answer is %+v and the error %v, want %q", status, err, test.says)
			}
		})
	}
	if redirected.Load() {
		t.Error("a redirect was followed")
	}
}

// TestAskIsBoundedInTime has a pod that sends a byte now and then, for ever.
func TestAskIsBoundedInTime(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for r.Context().Err() == nil {
			_, _ = io.WriteString(w, " ")
			_ = http.NewResponseController(w).Flush()
		}
	}))
	t.Cleanup(server.Close)
	_, err := askerOf(t, server).ask(t.Context(), "10.1.2.3")
	if err == nil {
		t.Error("an endless answer is one")
	}
	beginning := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = io.WriteString(w, "{")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	}))
	t.Cleanup(beginning.Close)
	if _, err := askerOf(t, beginning).ask(t.Context(), "10.1.2.3"); err == nil {
		t.Error("an answer that never goes on is one")
	}
	hanging := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	t.Cleanup(hanging.Close)
	if _, err := askerOf(t, hanging).ask(t.Context(), "10.1.2.3"); silence(err) != "it did not answer in 2s" {
		t.Errorf("a pod that hangs: %v", err)
	}
}

// TestOnlyPodsAreAsked holds that an address in a pod's status leads to no machine's own
// services and to no cloud's metadata.
func TestOnlyPodsAreAsked(t *testing.T) {
	a := newAsker(15020, func(_ context.Context, _, address string) (net.Conn, error) {
		return nil, fmt.Errorf("dialled %s", address)
	})
	for _, address := range []string{
		"", "pod.example.com", "10.1.2.3:80", "127.0.0.1", "::1", "0.0.0.0", "::", "169.254.169.254", "::ffff:169.254.169.254", "::ffff:127.0.0.1",
		"fe80::1", "fe80::1%eth0", "fd00::1%eth0", "fd00::1%25eth0", "224.0.0.1", "ff02::1", "255.255.255.255", "10.1.2.3/24", "0x7f000001", "10.1.2",
	} {
		if _, err := a.ask(t.Context(), address); err == nil || strings.Contains(err.Error(), "dialled") {
			t.Errorf("%q is asked: %v", address, err)
		}
	}
	for address, want := range map[string]string{"10.1.2.3": "10.1.2.3:15020", "fd00::7": "[fd00::7]:15020", "::ffff:10.1.2.3": "10.1.2.3:15020"} {
		if _, err := a.ask(t.Context(), address); err == nil || !strings.Contains(err.Error(), "dialled "+want) {
			t.Errorf("%q: %v, want that %s is dialled", address, err, want)
		}
	}
}

// TestSilenceSaysWhy: in words that are the same for the same reason.
func TestSilenceSaysWhy(t *testing.T) {
	for err, want := range map[error]string{
		nil: "", errors.New("our own"): "our own", &url.Error{Err: os.ErrDeadlineExceeded}: "it did not answer in 2s",
		&url.Error{Err: syscall.ECONNREFUSED}: "it refused the connection", &url.Error{Err: syscall.ECONNRESET}: "the connection failed",
		&url.Error{Err: syscall.EHOSTUNREACH}: "there is no way to it", &url.Error{Err: syscall.ENETUNREACH}: "there is no way to it",
	} {
		if got := silence(err); got != want {
			t.Errorf("%v: %q, want %q", err, got, want)
		}
	}
}

func TestSilenceIsTheSameForTheSameReason(t *testing.T) {
	server := httptest.NewServer(http.NotFoundHandler())
	address := server.Listener.Addr().String()
	server.Close()
	a := newAsker(15020, func(ctx context.Context, network, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, network, address)
	})
	if _, err := a.ask(t.Context(), "10.1.2.3"); silence(err) != "it refused the connection" {
		t.Errorf("a port without a listener: %q (%v)", silence(err), err)
	}
}
