package dataplane

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/e2e/injected"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/e2e/traffic"
)

// TestIdleWhileAPortGoes: when an inbound port is taken out of the document, a client whose
// connection has been idle since then is answered with its next request, as long as the
// port's connections drain: what they lead to stays as long as they do.
func TestIdleWhileAPortGoes(t *testing.T) {
	t.Parallel()
	s := newShop(t, want{configure: func(c *v1alpha1.InjectorConfig) { c.Lifecycle.DrainTime.Duration = 90 * time.Second }})
	of := &changes{}
	limit := int32(20)
	first := of.of(t, v1alpha1.MeshServiceSpec{
		Inbound: []v1alpha1.InboundPort{{Port: number(httpPort), MaxConcurrentRequests: &limit}},
		Egress:  []v1alpha1.Destination{{Name: "payments", Host: hostOf("payments"), Port: number(httpPort)}},
	})
	s.apply(first)
	s.await(first.Version)
	connection, err := traffic.Dialer(s.outside, func() string { return s.pod.IPv4.String() }, httpPort)(t.Context(), "", "")
	if err != nil {
		t.Fatal(err)
	}
	defer connection.Close()
	answers := bufio.NewReader(connection)
	ask := func() *http.Response {
		t.Helper()
		_ = connection.SetDeadline(time.Now().Add(longest))
		if _, err := io.WriteString(connection, "GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := http.ReadResponse(answers, nil)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		if body, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
			t.Fatalf("HTTP %d %s: %v", answer.StatusCode, body, err)
		}
		return answer
	}
	if ask().Close {
		t.Fatal("its connection is closed before anything has changed")
	}
	second := of.of(t, v1alpha1.MeshServiceSpec{})
	s.apply(second)
	s.await(second.Version)
	// What only routes led to goes as soon as it is not used.
	sandbox.Eventually(t, "the old destination is taken away", longest, func() bool {
		return !strings.Contains(injected.Admin(t, s.pod, http.MethodGet, "/clusters"), "payments@")
	})
	if injected.Stats(t, s.pod)["listener_manager.total_filter_chains_draining"] == 0 {
		t.Fatal("the drain is over: this test cannot fail")
	}
	if !ask().Close {
		t.Error("the client was not told to go")
	}
}
