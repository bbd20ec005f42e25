package traffic

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// racers are how many clients call a Closer at once.
const racers = 100

// Closer is a server that closes connections on which no request has come for some time.
// What arrives when it has decided to is lost, as it is on a real network for as long as
// the close is on its way. Here that is until somebody has sent something: whether a client
// meets it is then due to the connection that it takes, and not to how fast it is.
type Closer struct {
	keepAlive time.Duration

	mutex sync.Mutex
	// open are the connections that take requests, and idle tells that there is none.
	open int
	idle *sync.Cond
	// missing are the requests of this round that have not come, and over is closed when
	// there is none.
	missing int
	over    chan struct{}
}

// NewCloser keeps idle connections for so long.
func NewCloser(keepAlive time.Duration) *Closer {
	s := &Closer{keepAlive: keepAlive}
	s.idle = sync.NewCond(&s.mutex)
	return s
}

// Serve answers requests on a connection, all of a round at once, so that each has come by
// a connection of its own.
func (s *Closer) Serve(c net.Conn) {
	s.opened(1)
	requests := bufio.NewReader(c)
	err := s.requests(c, requests)
	s.opened(-1)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		return
	}
	_ = c.SetReadDeadline(time.Time{})
	if _, err := requests.Peek(1); err == nil {
		s.came()
	}
}

func (s *Closer) requests(c net.Conn, requests *bufio.Reader) error {
	for {
		if err := c.SetReadDeadline(time.Now().Add(s.keepAlive)); err != nil {
			return err
		}
		request, err := http.ReadRequest(requests)
		if err != nil {
			return err
		}
		body, err := io.ReadAll(request.Body)
		if err != nil {
			return err
		}
		<-s.came()
		text := fmt.Sprintf("%s %s %d bytes", request.Method, request.URL.Path, len(body))
		if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s", len(text), text); err != nil {
			return err
		}
	}
}

func (s *Closer) opened(connections int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.open += connections; s.open == 0 {
		s.idle.Broadcast()
	}
}

// came counts a request of this round, and is closed when all are there.
func (s *Closer) came() <-chan struct{} {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.missing--; s.missing == 0 {
		close(s.over)
	}
	return s.over
}

// round waits until no connection takes a request any more, and begins another round.
func (s *Closer) round() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	for s.open > 0 {
		s.idle.Wait()
	}
	s.missing, s.over = racers, make(chan struct{})
}

// RaceErrors are those of 100 clients that call it all at once at an URL, and do so once
// more, three times, as soon as it has closed or is about to close all its connections.
// Where those are not closed before, every other time all of them fail.
func (s *Closer) RaceErrors(ctx context.Context, url string, dial func(context.Context, string, string) (net.Conn, error)) int64 {
	transports := make([]*http.Transport, racers)
	for n := range transports {
		transports[n] = &http.Transport{DialContext: dial}
	}
	defer func() {
		for _, transport := range transports {
			transport.CloseIdleConnections()
		}
	}()
	var failed atomic.Int64
	for range 4 {
		s.round()
		var clients sync.WaitGroup
		for _, transport := range transports {
			clients.Go(func() {
				ctx, cancel := context.WithTimeout(ctx, longest)
				defer cancel()
				if err := Post(ctx, transport, url); err != nil {
					failed.Add(1)
				}
			})
		}
		clients.Wait()
	}
	return failed.Load()
}
