package meshservice

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

// tally counts what servers were asked, by a name that they choose.
type tally struct {
	mutex  sync.Mutex
	counts map[string]int
}

// add counts one more, and is how many there are then.
func (a *tally) add(name string) int {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if a.counts == nil {
		a.counts = map[string]int{}
	}
	a.counts[name]++
	return a.counts[name]
}

func (a *tally) of(name string) int {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.counts[name]
}

// both are the protocols of a server that takes HTTP/1 and HTTP/2 without TLS.
func both() *http.Protocols {
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetUnencryptedHTTP2(true)
	return protocols
}

// serve serves HTTP on ports of a pod.
func (c cluster) serve(p *sandbox.Pod, handler http.HandlerFunc, ports ...string) *http.Server {
	c.Helper()
	web := &http.Server{Handler: handler, Protocols: both()}
	c.Cleanup(func() { _ = web.Close() })
	for _, port := range ports {
		p.Serve(c.T, port, web.Serve)
	}
	return web
}

// says is a handler that answers with a text.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) }
}

// waves is a server that fails every request, but none before each of its clients has one
// there: so many are under way at once, however fast anybody is.
type waves struct {
	mutex                  sync.Mutex
	clients, waiting, seen int
	wave                   chan struct{}
}

// join has more clients, which are to leave, and is how many requests there have been.
func (w *waves) join(clients int) (seen int) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.clients += clients
	return w.seen
}

func (w *waves) leave() {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.clients--
	w.failAll()
}

// failAll ends a wave that is complete.
func (w *waves) failAll() {
	if w.waiting > 0 && w.waiting >= w.clients {
		close(w.wave)
		w.waiting, w.wave = 0, nil
	}
}

func (w *waves) ServeHTTP(writer http.ResponseWriter, _ *http.Request) {
	w.mutex.Lock()
	if w.wave == nil {
		w.wave = make(chan struct{})
	}
	wave := w.wave
	w.seen++
	w.waiting++
	w.failAll()
	w.mutex.Unlock()
	<-wave
	writer.WriteHeader(http.StatusServiceUnavailable)
}

// echo holds a connection and says what it is told.
func echo(c net.Conn) { _, _ = io.Copy(c, c) }

// rpc serves any gRPC method without a stream. The answer is a text.
func (c cluster) rpc(p *sandbox.Pod, port string, answer func(method string) (string, error)) *grpc.Server {
	c.Helper()
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		method, _ := grpc.MethodFromServerStream(stream)
		if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
			return err
		}
		text, err := answer(method)
		if err != nil {
			return err
		}
		return stream.SendMsg(wrapperspb.String(text))
	}))
	c.Cleanup(server.Stop)
	p.Serve(c.T, port, server.Serve)
	return server
}

// frames is a server that speaks HTTP/2 frame by frame, with faults of its own.
type frames struct {
	// streams is what it says that it takes at the same time.
	streams uint32
	// request is called for each request, one after the other on a connection.
	request func(c *frameConn, stream uint32, path string)
}

// frameConn is one connection to it.
type frameConn struct {
	net.Conn
	mutex  sync.Mutex // of writing, and of active
	framer *http2.Framer
	// active streams, counted by who wants to.
	active int
}

func (f frames) serve(connection net.Conn) {
	c := &frameConn{Conn: connection, framer: http2.NewFramer(connection, connection)}
	c.framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if _, err := io.ReadFull(c, make([]byte, len(http2.ClientPreface))); err != nil {
		return
	}
	settings := http2.Setting{ID: http2.SettingMaxConcurrentStreams, Val: f.streams}
	if c.write(func() error { return c.framer.WriteSettings(settings) }) != nil {
		return
	}
	for {
		frame, err := c.framer.ReadFrame()
		if err != nil {
			return
		}
		switch frame := frame.(type) {
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				_ = c.write(c.framer.WriteSettingsAck)
			}
		case *http2.PingFrame:
			if !frame.IsAck() {
				_ = c.write(func() error { return c.framer.WritePing(true, frame.Data) })
			}
		case *http2.MetaHeadersFrame:
			f.request(c, frame.StreamID, frame.PseudoValue("path"))
		}
	}
}

func (c *frameConn) write(f func() error) error {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return f()
}

// answer answers a request with a text.
func (c *frameConn) answer(stream uint32, text string) error {
	return c.write(func() error {
		return errors.Join(
			// ":status: 200" is number 8 of HPACK's own table.
			c.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: stream, BlockFragment: []byte{0x88}, EndHeaders: true}),
			c.framer.WriteData(stream, true, []byte(text)),
		)
	})
}

// refuse says that it has not begun to work on a request.
func (c *frameConn) refuse(stream uint32) error {
	return c.write(func() error { return c.framer.WriteRSTStream(stream, http2.ErrCodeRefusedStream) })
}

// liar says that it takes as many streams as there can be, and ends the connection with
// all that is on it when there are more than it really takes. It keeps what it was asked
// until all that can come has come, or it has died: who meets whom on a connection is
// then due to who sends them, and not to how fast anybody is.
type liar struct {
	most int

	mutex sync.Mutex
	// missing are those that it waits for, and open is closed when there are none.
	missing         int
	open            chan struct{}
	deaths, busiest int
}

// expect makes it wait for so many requests.
func (l *liar) expect(requests int) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.missing, l.open = requests, make(chan struct{})
}

// saw is how often it died, and how many streams there were at most on a connection.
func (l *liar) saw() (deaths, busiest int) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.deaths, l.busiest
}

// takes counts a stream that has come as one of those active on its connection. What it
// returns is closed when it is to be answered; nil where the app dies of it.
func (l *liar) takes(active int) <-chan struct{} {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.busiest = max(l.busiest, active)
	died := active > l.most
	if died {
		l.deaths++
	}
	if l.missing > 0 {
		if l.missing--; died {
			l.missing = 0
		}
		if l.missing == 0 {
			close(l.open)
		}
	}
	if died {
		return nil
	}
	return l.open
}

func (l *liar) frames() frames {
	return frames{streams: 1<<31 - 1, request: func(c *frameConn, stream uint32, path string) {
		c.mutex.Lock()
		c.active++
		active := c.active
		c.mutex.Unlock()
		open := l.takes(active)
		if open == nil {
			_ = c.Close()
			return
		}
		go func() {
			<-open
			c.mutex.Lock()
			c.active--
			c.mutex.Unlock()
			_ = c.answer(stream, fmt.Sprintf("GET %s 0 bytes", path))
		}()
	}}
}
