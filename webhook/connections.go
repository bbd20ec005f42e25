package webhook

import (
	"context"
	"crypto/tls"
	"math/rand/v2"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

// Which connection was closed when there were too many.
const (
	shedIdle = "idle"
	shedNew  = "new"
	shedLate = "late"
)

// connections is a listener that bounds how many connections are open and knows
// how old each is. When there are too many, the one that has waited longest for
// its next request to be complete has to go, so that clients that only keep
// connections open cannot keep others out.
type connections struct {
	net.Listener
	limit    int
	maxAge   time.Duration
	lateness *lateness
	metrics  *Metrics

	mutex sync.Mutex
	open  map[*connection]struct{}
}

// connection is one of them. Its methods may be called on nil, for requests that
// come by no connection of ours.
type connection struct {
	net.Conn
	owner *connections
	// old is from when on a response asks the client to reconnect.
	old time.Time
	// waiting is since when there has been no complete request, in nanoseconds
	// of Unix time; 0 while one is being answered.
	waiting atomic.Int64
}

func newConnections(listener net.Listener, limit int, maxAge time.Duration, l *lateness, metrics *Metrics) *connections {
	return &connections{Listener: listener, limit: limit, maxAge: maxAge, lateness: l, metrics: metrics, open: make(map[*connection]struct{})}
}

// Accept implements net.Listener.
func (l *connections) Accept() (net.Conn, error) {
	for {
		accepted, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		// A handshake costs more than ten answers.
		if l.lateness.exceeds(maxConnectionLateness, time.Now()) != nil {
			l.refuse(accepted, shedLate)
			continue
		}
		c := &connection{Conn: accepted, owner: l, old: time.Now().Add(jitter(l.maxAge))}
		c.waiting.Store(time.Now().UnixNano())
		if l.admit(c) {
			return c, nil
		}
		l.refuse(accepted, shedNew)
	}
}

// refuse closes a connection with a reset, so that the client knows at once.
func (l *connections) refuse(c net.Conn, which string) {
	l.metrics.connectionsShed.WithLabelValues(which).Inc()
	if tcp, ok := c.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0) // else it is a FIN, which says less
	}
	_ = c.Close() // nobody is told anything either way
}

// count is how many connections are open.
func (l *connections) count() int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return len(l.open)
}

// admit takes in a connection, closing another one if need be. It is false if
// there are too many and all are at work.
func (l *connections) admit(c *connection) bool {
	l.mutex.Lock()
	var shed *connection
	if len(l.open) >= l.limit {
		if shed = l.longestWaiting(); shed == nil {
			l.mutex.Unlock()
			return false
		}
		delete(l.open, shed)
	}
	l.open[c] = struct{}{}
	l.metrics.connections.Set(float64(len(l.open)))
	l.mutex.Unlock()
	if shed != nil {
		l.metrics.connectionsShed.WithLabelValues(shedIdle).Inc()
		_ = shed.Conn.Close() // the goroutine that serves it finds out
	}
	return true
}

func (l *connections) longestWaiting() *connection {
	var longest *connection
	var since int64
	for c := range l.open {
		if waiting := c.waiting.Load(); waiting != 0 && (longest == nil || waiting < since) {
			longest, since = c, waiting
		}
	}
	return longest
}

// Close implements net.Conn.
func (c *connection) Close() error {
	c.owner.mutex.Lock()
	delete(c.owner.open, c)
	c.owner.metrics.connections.Set(float64(len(c.owner.open)))
	c.owner.mutex.Unlock()
	return c.Conn.Close()
}

// isOld says whether the client should reconnect. Connections of kube-apiserver
// would otherwise stay with the replica that they were opened to, and a new
// replica would get nothing to do.
func (c *connection) isOld(now time.Time) bool { return c != nil && now.After(c.old) }

// setBusy says that a complete request has come.
func (c *connection) setBusy() {
	if c != nil {
		c.waiting.Store(0)
	}
}

// connectionState is for http.Server.ConnState: it notes that a request has been
// answered.
func connectionState(raw net.Conn, state http.ConnState) {
	if c := unwrap(raw); c != nil && state == http.StateIdle {
		c.waiting.Store(time.Now().UnixNano())
	}
}

type connectionKey struct{}

// withConnection is for http.Server.ConnContext.
func withConnection(ctx context.Context, raw net.Conn) context.Context {
	return context.WithValue(ctx, connectionKey{}, unwrap(raw))
}

func connectionOf(ctx context.Context) *connection {
	c, _ := ctx.Value(connectionKey{}).(*connection)
	return c
}

func unwrap(raw net.Conn) *connection {
	if secured, ok := raw.(*tls.Conn); ok {
		raw = secured.NetConn()
	}
	c, _ := raw.(*connection)
	return c
}

// jitter is d within 20 %, so that connections that were opened together, as on
// the start of a replica, do not all end together.
func jitter(d time.Duration) time.Duration {
	return time.Duration(float64(d) * (0.8 + 0.4*rand.Float64()))
}
