package controller

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"sigs.k8s.io/controller-runtime/pkg/cache"
)

const (
	// requestTimeout bounds a status request.
	requestTimeout = 10 * time.Second
	// syncTimeout bounds the question whether the cache is filled, which answers at
	// once when it is.
	syncTimeout = 100 * time.Millisecond
)

// statusServer serves /healthz, /readyz and /metrics, on followers too.
type statusServer struct {
	listener net.Listener
	server   *http.Server
}

func newStatusServer(listener net.Listener, objects cache.Cache, registry *prometheus.Registry, logger *slog.Logger) *statusServer {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), syncTimeout)
		defer cancel()
		if !objects.WaitForCacheSync(ctx) {
			http.Error(w, "the Secret and the webhook configurations were not read yet; the log says why", http.StatusServiceUnavailable)
			return
		}
		_, _ = w.Write([]byte("ok\n"))
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	return &statusServer{listener, &http.Server{
		Handler: mux, ReadTimeout: requestTimeout, WriteTimeout: requestTimeout,
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}}
}

// NeedLeaderElection implements manager.LeaderElectionRunnable.
func (*statusServer) NeedLeaderElection() bool { return false }

// Start implements manager.Runnable.
func (s *statusServer) Start(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() { _ = s.server.Close() }) // a scrape more or less
	defer stop()
	if err := s.server.Serve(s.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving the status port: %w", err)
	}
	return nil
}
