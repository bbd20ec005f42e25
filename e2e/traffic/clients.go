package traffic

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

// longest is what a request may take before it counts as failed.
const longest = time.Minute

// Do sends a request and fails unless the answer is 200 and the body what is wanted.
func Do(r http.RoundTripper, request *http.Request, want string) (*http.Response, error) {
	response, err := r.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK || string(body) != want {
		return nil, fmt.Errorf("HTTP %d %.200q, want %.40q", response.StatusCode, body, want)
	}
	return response, nil
}

// Once is a body that cannot be sent again, so that Go's client does not.
func Once(text string) io.Reader { return io.MultiReader(strings.NewReader(text)) }

// Post sends a request to an URL at which Answer or a Closer serves, once.
func Post(ctx context.Context, by http.RoundTripper, url string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url, Once("hello"))
	if err != nil {
		return err
	}
	request.ContentLength = 5
	_, err = Do(by, request, "POST / 5 bytes") //nolint:bodyclose // Do has closed it
	return err
}

// Dialer connects from a pod, for a client that speaks first, to whatever address DNS names
// then.
func Dialer(from *sandbox.Pod, pick func() string, port string) func(context.Context, string, string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		c, err := from.DialToSpeak(ctx, "tcp", net.JoinHostPort(pick(), port))
		if err != nil {
			return nil, err
		}
		return Dialed{c, time.Now()}, nil
	}
}

// Dialed is a connection that knows how old it is.
type Dialed struct {
	net.Conn
	At time.Time
}

// FailedAtOnce sends so many requests to an URL at once, each on a connection of its
// own that dial opens, and is how many of them failed.
func FailedAtOnce(ctx context.Context, requests int, url string, dial func(context.Context, string, string) (net.Conn, error)) int64 {
	var failed atomic.Int64
	var clients sync.WaitGroup
	for range requests {
		clients.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, 2*longest)
			defer cancel()
			if err := Post(ctx, &http.Transport{DialContext: dial, DisableKeepAlives: true}, url); err != nil {
				failed.Add(1)
			}
		})
	}
	clients.Wait()
	return failed.Load()
}
