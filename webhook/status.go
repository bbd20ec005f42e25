package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// answersInterval is how often the listener is tried until it answers.
const answersInterval = 100 * time.Millisecond

// statusMux serves what a kubelet and Prometheus ask for.
func (s *Server) statusMux() *http.ServeMux {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if err := s.ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	metrics := promhttp.HandlerFor(s.metrics.Registry, promhttp.HandlerOpts{})
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, r *http.Request) {
		s.metrics.setReady(s.ready())
		metrics.ServeHTTP(w, r)
	})
	if s.options.Pprof {
		mux.HandleFunc("GET /debug/pprof/", pprof.Index)
		mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	}
	return mux
}

// ready is nil once requests can be answered. From then on only the end of the
// Server makes it an error again: a file that has gone bad leaves the last good
// one in force, and taking every replica out of service would make it worse.
func (s *Server) ready() error {
	var errs []error
	if s.stopping.Load() {
		errs = append(errs, errors.New("stopping"))
	}
	if s.configuration.current.Load() == nil {
		errs = append(errs, errors.New("no configuration was ever loaded; the log says why"))
	}
	if s.serving.current.Load() == nil {
		errs = append(errs, errors.New("no certificate was ever loaded; the log says why"))
	} else if !s.answers.Load() {
		errs = append(errs, errors.New("the listener has not answered a review yet"))
	}
	return errors.Join(errs...)
}

// untilAnswers asks the listener until it answers.
func (s *Server) untilAnswers(ctx context.Context) {
	ticker := time.NewTicker(answersInterval)
	defer ticker.Stop()
	for {
		if s.serving.current.Load() != nil && s.configuration.current.Load() != nil {
			err := s.askItself(ctx)
			if err == nil {
				s.answers.Store(true)
				return
			}
			s.options.Log.Debug("the listener does not answer yet", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// askItself sends a review to the Server's own listener, as kube-apiserver would: any
// answer about it will do. The server is taken for itself by its very certificate,
// since nothing here knows a name that it is good for.
func (s *Server) askItself(ctx context.Context) error {
	serving := s.serving.current.Load()
	config := baseTLS()
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(state tls.ConnectionState) error {
		if own := serving.Certificates[0].Leaf; !bytes.Equal(own.Raw, state.PeerCertificates[0].Raw) {
			return errors.New("the listener shows another certificate than the one that was loaded")
		}
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, headerTimeout)
	defer cancel()
	if serving.ClientCAs != nil { // there is no certificate that it could show
		c, err := (&tls.Dialer{Config: config}).DialContext(ctx, "tcp", s.Address().String())
		if err != nil {
			return fmt.Errorf("connecting to the own listener: %w", err)
		}
		return c.Close()
	}
	optIn := s.configuration.current.Load().optIn
	o := ProbeOptions{Address: s.Address().String(), Label: optIn.Label, Value: optIn.Value, Namespace: "pillion-ready"}
	_, err := o.ask(ctx, config)
	return err
}
