package webhook

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

const (
	// headerTimeout bounds a TLS handshake and, again, the header of a request.
	headerTimeout = 10 * time.Second
	// exchangeTimeout bounds reading and writing of one request where its own
	// deadline does not.
	exchangeTimeout = maxTimeout + 5*time.Second
	// idleTimeout is longer than the 90 s after which kube-apiserver closes an
	// idle connection: the server that closes first may cut off a request that is
	// on its way, and kube-apiserver does not send a POST again.
	idleTimeout = 2 * time.Minute
	// maxHeader of a request, in bytes.
	maxHeader = 16 << 10
	// drainInterval is how often it is looked whether connections are open.
	drainInterval = 100 * time.Millisecond
	// stopTimeout bounds how long the requests in flight may take at the end.
	stopTimeout = 15 * time.Second
)

// Options are what a Server is made of. Every field but ClientCAFile and Pprof
// has to be set; the defaults are cmd/pillion-webhook's.
type Options struct {
	// ConfigFile is an InjectorConfig, in YAML or JSON.
	ConfigFile string
	// CertDir holds tls.crt and tls.key.
	CertDir string
	// ClientCAFile holds the authorities in PEM that clients' certificates have to
	// come from. Empty: clients need none.
	ClientCAFile string
	// Address of the admission endpoint, host:port.
	Address string
	// StatusAddress of /healthz, /readyz and /metrics, without TLS.
	StatusAddress string
	// Pprof serves /debug/pprof/ on the status address.
	Pprof bool
	// SelfCheck applies each patch to its pod before it is sent.
	SelfCheck bool
	// MaxInFlight is how many requests are decided on at a time.
	MaxInFlight int
	// MaxConnections is how many connections are open at a time. Three API servers
	// have up to 600 requests in flight, and their clients open up to twice as many
	// connections when all come at once.
	MaxConnections int
	// MaxConnectionAge is after what time clients are asked to reconnect, within
	// 20 %.
	MaxConnectionAge time.Duration
	// ShutdownDelay is how long requests are still answered, while not ready, when
	// the Server is to stop: as long as others take to learn of it.
	ShutdownDelay time.Duration
	// DrainTimeout is for how long after the ShutdownDelay clients may take to close
	// their connections. One that is closed from here may have a request on its way,
	// which kube-apiserver does not make again; it closes an idle one itself after 90 s.
	DrainTimeout time.Duration
	Log          *slog.Logger
}

// Server is the whole webhook.
type Server struct {
	options       Options
	configuration Configuration
	serving       serving
	handler       *Handler
	metrics       *Metrics
	files         []*polledFiles

	listener          *connections
	statusListener    net.Listener
	admission, status *http.Server
	// answers is set once the listener has completed a TLS handshake, stopping
	// once the Server is to stop.
	answers, stopping atomic.Bool
}

// Listen makes a Server that listens already, and loads the files as far as they
// are there.
func Listen(o Options) (*Server, error) {
	s := &Server{options: o, metrics: NewMetrics()}
	s.handler = NewHandler(HandlerOptions{
		Configuration: &s.configuration, Metrics: s.metrics, Log: o.Log,
		MaxInFlight: o.MaxInFlight, SelfCheck: o.SelfCheck,
	})
	listener, err := net.Listen("tcp", o.Address)
	if err != nil {
		return nil, fmt.Errorf("listening for admission requests: %w", err)
	}
	s.listener = newConnections(listener, o.MaxConnections, o.MaxConnectionAge, &s.handler.lateness, s.metrics)
	s.statusListener, err = net.Listen("tcp", o.StatusAddress)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("listening for status requests: %w", err), s.listener.Close())
	}
	s.files = []*polledFiles{s.configurationFile(), s.certificateFiles()}
	for _, f := range s.files {
		f.check()
	}
	s.admission = s.httpServer(s.handler)
	s.admission.ConnState, s.admission.ConnContext = connectionState, withConnection
	s.status = s.httpServer(s.statusMux())
	return s, nil
}

func (s *Server) configurationFile() *polledFiles {
	return &polledFiles{
		what: "configuration", paths: []string{s.options.ConfigFile}, log: s.options.Log, metrics: s.metrics.configReload,
		use: func(contents [][]byte) error {
			if err := s.configuration.Load(contents[0]); err != nil {
				return err
			}
			s.metrics.configInfo.Reset()
			s.metrics.configInfo.WithLabelValues(s.configuration.Hash()).Set(1)
			return nil
		},
	}
}

func (s *Server) certificateFiles() *polledFiles {
	paths := []string{filepath.Join(s.options.CertDir, "tls.crt"), filepath.Join(s.options.CertDir, "tls.key")}
	if s.options.ClientCAFile != "" {
		paths = append(paths, s.options.ClientCAFile)
	}
	return &polledFiles{
		what: "certificate", paths: paths, log: s.options.Log, metrics: s.metrics.certificateReload,
		use: func(contents [][]byte) error {
			var clientCAs []byte
			if len(contents) > 2 {
				clientCAs = contents[2]
			}
			leaf, err := s.serving.load(contents[0], contents[1], clientCAs)
			if err == nil {
				s.metrics.setCertificate(leaf)
			}
			return err
		},
	}
}

func (s *Server) httpServer(handler http.Handler) *http.Server {
	return &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: headerTimeout,
		ReadTimeout:       exchangeTimeout,
		WriteTimeout:      exchangeTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		ErrorLog:          log.New(&serverLog{log: s.options.Log, rarely: rate.Sometimes{First: 1, Interval: time.Second}}, "", 0),
	}
}

// Address that admission requests are answered on.
func (s *Server) Address() net.Addr { return s.listener.Addr() }

// StatusAddress that status requests are answered on.
func (s *Server) StatusAddress() net.Addr { return s.statusListener.Addr() }

// Serve answers requests until ctx is done, and then as long as it takes to stop
// without a loss: not ready at once, for the ShutdownDelay as before except that
// each response asks its client to reconnect, then until the clients have closed
// their connections, and at last until the last request is answered.
func (s *Server) Serve(ctx context.Context) error {
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	var background sync.WaitGroup
	defer background.Wait()
	defer stop()
	for _, f := range s.files {
		background.Go(func() { f.poll(running) })
	}
	background.Go(func() { s.untilAnswers(running) })
	background.Go(func() { s.handler.lateness.measure(running) })
	failed := make(chan error, 2)
	background.Go(func() { failed <- s.admission.Serve(tls.NewListener(s.listener, s.serving.config())) })
	background.Go(func() { failed <- s.status.Serve(s.statusListener) })
	s.options.Log.Info("listening", "address", s.Address().String(), "statusAddress", s.StatusAddress().String())

	var err error
	select {
	case err = <-failed:
		err = fmt.Errorf("serving: %w", err)
	case <-ctx.Done():
		s.options.Log.Info("stopping", "delay", s.options.ShutdownDelay, "drainTimeout", s.options.DrainTimeout)
		s.stopping.Store(true)
		s.handler.draining.Store(true)
		err = s.drain(failed)
	}
	return errors.Join(err, s.shutdown())
}

// drain goes on answering until nobody asks any more.
func (s *Server) drain(failed <-chan error) error {
	delay := time.After(s.options.ShutdownDelay)
	timeout := time.After(s.options.ShutdownDelay + s.options.DrainTimeout)
	ticker := time.NewTicker(drainInterval)
	defer ticker.Stop()
	for {
		select {
		case err := <-failed:
			return fmt.Errorf("serving while stopping: %w", err)
		case <-timeout:
			return nil
		case <-delay:
			delay = nil
		case <-ticker.C:
			if delay == nil && s.listener.count() == 0 {
				return nil
			}
		}
	}
}

// shutdown lets the requests in flight end, within bounds.
func (s *Server) shutdown() error {
	ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
	defer cancel()
	var errs []error
	for _, server := range []*http.Server{s.admission, s.status} {
		if err := server.Shutdown(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stopping: requests were still in flight after %s: %w", stopTimeout, err), server.Close())
		}
	}
	return errors.Join(errs...)
}

// serverLog takes in what net/http has to say, mostly about failed handshakes:
// worth a line, since they may be what a wrong caBundle looks like from here,
// but not one for each of a port scanner's.
type serverLog struct {
	log    *slog.Logger
	rarely rate.Sometimes
}

// Write implements io.Writer.
func (l *serverLog) Write(line []byte) (int, error) {
	l.rarely.Do(func() { l.log.Warn("connection failed", "error", clip(strings.TrimSpace(string(line)))) })
	return len(line), nil
}
