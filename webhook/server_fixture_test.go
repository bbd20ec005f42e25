package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// running is a Server with what a test needs of it.
type running struct {
	*Server
	dir    string
	client *tls.Config
	lines  *logLines
	stop   context.CancelFunc
	done   chan error
}

// start runs a Server on loopback until the test ends. change may be nil.
func start(t *testing.T, change func(o *Options)) *running {
	t.Helper()
	dir := t.TempDir()
	r := &running{dir: dir, lines: &logLines{}, client: writeCertificate(t, dir, 1), done: make(chan error, 1)}
	write(t, filepath.Join(dir, "config.yaml"), []byte(minimalConfig))
	options := Options{
		ConfigFile: filepath.Join(dir, "config.yaml"), CertDir: dir,
		Address: "127.0.0.1:0", StatusAddress: "127.0.0.1:0", SelfCheck: true,
		MaxInFlight: 1024, MaxConnections: 2048, MaxConnectionAge: time.Hour,
		Log: slog.New(slog.NewJSONHandler(r.lines, nil)),
	}
	if change != nil {
		change(&options)
	}
	var err error
	if r.Server, err = Listen(options); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, r.stop = context.WithCancel(t.Context())
	stopped := make(chan struct{})
	go func() {
		r.done <- r.Serve(ctx)
		close(stopped)
	}()
	t.Cleanup(func() {
		r.stop()
		<-stopped
	})
	return r
}

// httpClient is a client with connections of its own, HTTP/1.1 as kube-apiserver.
func (r *running) httpClient(t *testing.T) *http.Client {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: r.client.Clone(), MaxIdleConnsPerHost: 1024}
	t.Cleanup(transport.CloseIdleConnections)
	return &http.Client{Transport: transport}
}

func (r *running) url() string { return "https://" + r.Address().String() + "/mutate?timeout=5s" }

// review sends a review of the test's pod.
func (r *running) review(client *http.Client) (*http.Response, error) {
	response, err := client.Post(r.url(), contentType, strings.NewReader(reviewOf(testPod)))
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("HTTP %d: %s: %w", response.StatusCode, body, err)
	}
	return response, nil
}

// status asks the status port.
func (r *running) status(t *testing.T, path string) (int, string) {
	t.Helper()
	response, err := http.Get("http://" + r.StatusAddress().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(body)
}

// untilReady waits for the Server to be ready.
func (r *running) untilReady(t *testing.T) {
	t.Helper()
	eventually(t, "ready", func() bool { return r.ready() == nil })
}

// dial opens a TLS connection.
func (r *running) dial(t *testing.T) *tls.Conn {
	t.Helper()
	c, err := tls.Dial("tcp", r.Address().String(), r.client)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// turnedAway opens a connection and waits until the server has closed it, which may
// be before the client knows that it is open.
func (r *running) turnedAway(t *testing.T) {
	t.Helper()
	c, err := net.Dial("tcp", r.Address().String())
	if errors.Is(err, syscall.ECONNRESET) {
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	defer c.Close()
	if err := c.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Error(err)
	}
	_, err = io.Copy(io.Discard, c)
	if timeout, is := errors.AsType[net.Error](err); is && timeout.Timeout() {
		t.Error("the server did not close the connection")
	}
}

// eventually waits for something that happens aside, as long as a test may take.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("never happened: ", what)
		}
	}
}
