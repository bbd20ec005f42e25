package webhook

import (
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/injector"
)

// A machine that is busy elsewhere has the webhook turn work away, and kube-apiserver asks again
// then; the connections alone are never too many.
func TestSixHundredConnectionsAtOnce(t *testing.T) {
	r := start(t, nil)
	r.untilReady(t)
	client := r.httpClient(t)
	gate := make(chan struct{})
	var all sync.WaitGroup
	for range 600 {
		all.Go(func() {
			<-gate
			for range 3 {
				if err := r.reviewWhileLate(t, client); err != nil {
					t.Error(err)
				}
			}
		})
	}
	close(gate)
	all.Wait()
	for _, why := range []string{shedIdle, shedNew} {
		if shed := value(t, r.metrics.connectionsShed.WithLabelValues(why)); shed > 0 {
			t.Errorf("%v connections were closed, being %s", shed, why)
		}
	}
}

// reviewWhileLate asks again for as long as what comes back is about a machine that is busy.
func (r *running) reviewWhileLate(t *testing.T, client *http.Client) (err error) {
	t.Helper()
	for range 200 {
		if _, err = r.review(client); err == nil {
			return nil
		}
		late := strings.Contains(err.Error(), "for a processor")
		reset := errors.As(err, new(*url.Error)) && value(t, r.metrics.connectionsShed.WithLabelValues(shedLate)) > 0
		if !late && !reset {
			return err
		}
		time.Sleep(100 * time.Millisecond)
	}
	return err
}

// Clients that only keep connections open do not keep others out.
func TestFiveThousandIdleConnections(t *testing.T) {
	const limit = 64
	r := start(t, func(o *Options) { o.MaxConnections = limit })
	r.untilReady(t)
	for range 5000 {
		c, err := net.Dial("tcp", r.Address().String())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = c.Close() })
	}
	if _, err := r.review(r.httpClient(t)); err != nil {
		t.Errorf("beside 5000 idle connections: %v", err)
	}
	if open := value(t, r.metrics.connections); open > limit {
		t.Errorf("%v connections are open, at most %d may be", open, limit)
	}
	if shed := value(t, r.metrics.connectionsShed.WithLabelValues(shedIdle)); shed < 5000-limit {
		t.Errorf("%v connections were closed to make room", shed)
	}
}

// Slow headers and slow bodies are like idle connections: no request of theirs is
// complete.
func TestSlowlorisIsBounded(t *testing.T) {
	const limit = 16
	r := start(t, func(o *Options) { o.MaxConnections, o.MaxInFlight = limit, 4 })
	r.untilReady(t)
	for n := range 4 * limit {
		c := r.dial(t)
		begun := "POST /mutate HTTP/1.1\r\nHost: x\r\n"
		if n%2 == 0 {
			begun += "Content-Type: application/json\r\nContent-Length: 100000\r\n\r\n{"
		}
		// An error says that the server has closed it already.
		_, _ = io.WriteString(c, begun)
	}
	if _, err := r.review(r.httpClient(t)); err != nil {
		t.Errorf("beside slow clients: %v", err)
	}
}

// A body that never comes ends at the request's own deadline.
func TestSlowBodyEndsAtTheDeadline(t *testing.T) {
	r := start(t, nil)
	r.untilReady(t)
	c := r.dial(t)
	fmt.Fprint(c, "POST /mutate?timeout=1s HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{")
	response := readResponse(t, c)
	if !strings.HasPrefix(response, "HTTP/1.1 408 ") || !strings.Contains(response, "PIL090 BadReview: the body did not arrive") {
		t.Errorf("got %q", response)
	}
}

// readResponse reads all that comes until the server closes.
func readResponse(t *testing.T, c net.Conn) string {
	t.Helper()
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	response, err := io.ReadAll(c)
	if err != nil {
		t.Errorf("reading until the server closes: %v", err)
	}
	return string(response)
}

// A connection on which a complete request is being answered is never closed for
// a new one.
func TestBusyConnectionsAreNotClosed(t *testing.T) {
	r := start(t, func(o *Options) { o.MaxConnections = 2 })
	r.untilReady(t)
	release, inside := make(chan struct{}), make(chan struct{}, 2)
	r.configuration.current.Store(&loaded{inject: func(injector.Request) injector.Result {
		inside <- struct{}{}
		<-release
		return injected()
	}})
	var held sync.WaitGroup
	for range 2 {
		held.Go(func() {
			if _, err := r.review(r.httpClient(t)); err != nil {
				t.Error(err)
			}
		})
		<-inside
	}
	r.turnedAway(t)
	close(release)
	held.Wait()
	if shed := value(t, r.metrics.connectionsShed.WithLabelValues(shedNew)); shed != 1 {
		t.Errorf("%v new connections were turned away, want 1", shed)
	}
}

func TestConnectionAgeIsBounded(t *testing.T) {
	r := start(t, nil)
	r.untilReady(t)
	client := r.httpClient(t)
	for range 3 {
		if response, err := r.review(client); err != nil || response.Close {
			t.Fatalf("a young connection is to be closed: %v, %v", response, err)
		}
	}
	r = start(t, func(o *Options) { o.MaxConnectionAge = time.Nanosecond })
	r.untilReady(t)
	client = r.httpClient(t)
	for range 3 {
		if response, err := r.review(client); err != nil || !response.Close {
			t.Fatalf("an old connection is not to be closed: %v, %v", response, err)
		}
	}
}

func TestConnectionsDoNotAgeTogether(t *testing.T) {
	ages := make(map[time.Duration]bool)
	for range 100 {
		age := jitter(time.Minute)
		if age < 48*time.Second || age > 72*time.Second {
			t.Errorf("%s is not within 20 %% of a minute", age)
		}
		ages[age] = true
	}
	if len(ages) < 90 {
		t.Errorf("only %d different ages in 100", len(ages))
	}
}

func TestPlaintextToTLSPort(t *testing.T) {
	r := start(t, nil)
	r.untilReady(t)
	c, err := net.Dial("tcp", r.Address().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n")
	if response := readResponse(t, c); !strings.HasPrefix(response, "HTTP/1.0 400 Bad Request") || !strings.Contains(response, "HTTPS") {
		t.Errorf("got %q", response)
	}
	if _, err := r.review(r.httpClient(t)); err != nil {
		t.Error(err)
	}
}

func TestTLSVersionsAndProtocols(t *testing.T) {
	r := start(t, nil)
	r.untilReady(t)
	for version, accepted := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		client := r.client.Clone()
		client.MinVersion, client.MaxVersion = version, version
		c, err := tls.Dial("tcp", r.Address().String(), client)
		if (err == nil) != accepted {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			c.Close()
		}
	}
	client := r.client.Clone()
	client.NextProtos = []string{"h2", "http/1.1"}
	c, err := tls.Dial("tcp", r.Address().String(), client)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if got := c.ConnectionState().NegotiatedProtocol; got != "http/1.1" {
		t.Errorf("%q was agreed on", got)
	}
}

func TestClientCertificateIsRequiredWithClientCA(t *testing.T) {
	r := start(t, func(o *Options) { o.ClientCAFile = o.CertDir + "/tls.crt" })
	r.untilReady(t)
	if _, err := r.review(r.httpClient(t)); err != nil {
		t.Errorf("with a certificate: %v", err)
	}
	r.client.Certificates = nil
	if _, err := r.review(r.httpClient(t)); err == nil {
		t.Error("without a certificate: answered")
	}
	r.client = writeCertificate(t, t.TempDir(), 3)
	r.client.InsecureSkipVerify = true
	if _, err := r.review(r.httpClient(t)); err == nil {
		t.Error("with a certificate from elsewhere: answered")
	}
}

// A 404 needs no body: paths other than /mutate are nobody's.
func TestOtherPathsAreNotFound(t *testing.T) {
	r := start(t, nil)
	r.untilReady(t)
	response, err := r.httpClient(t).Get("https://" + r.Address().String() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != http.StatusNotFound {
		t.Errorf("got HTTP %d", response.StatusCode)
	}
}
