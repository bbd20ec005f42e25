package proxy

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/pillion-mesh/pillion/lifecycle"
)

// status is what the status port says.
type status struct {
	sidecar *Sidecar
	mesh    *applier
	admin   *admin
	quit    chan<- struct{}
	started time.Time
	// readyAfter is how long Envoy took until it served, in nanoseconds; 0 until then.
	readyAfter atomic.Int64
	// scrapes holds a token for each scrape that runs.
	scrapes chan struct{}
	// clients are the connections that are open.
	clients atomic.Int32

	mutex  sync.Mutex
	looked time.Time
	found  []string // what was missing then
}

// mostScrapes at the same time: each asks Envoy's main thread for all statistics.
const mostScrapes = 2

// mostClients bounds what clients cost that connect and say nothing: the whole cluster
// can reach the status port.
const mostClients = 500

// freshFor is how old an answer about readiness may be. However many ask, Envoy's main
// thread is asked that often at most.
const freshFor = 25 * time.Millisecond

func newStatus(s *Sidecar, mesh *applier, quit chan<- struct{}) *status {
	return &status{sidecar: s, mesh: mesh, admin: newAdmin(s.Folder), quit: quit, started: time.Now(), scrapes: make(chan struct{}, mostScrapes)}
}

func (s *status) serve(listener net.Listener) *http.Server {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /healthz", s.healthz)
	mux.HandleFunc("GET /readyz", s.readyz)
	mux.HandleFunc("GET /metrics", s.metrics)
	mux.HandleFunc("GET "+lifecycle.MeshStatusPath, s.meshStatus)
	mux.HandleFunc("POST /quitquitquit", s.quitquitquit)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		http.Error(w, "The status port has GET /healthz, GET /readyz, GET /status, GET /metrics and POST /quitquitquit.", http.StatusNotFound)
	})
	server := &http.Server{
		Handler: mux, MaxHeaderBytes: 16 << 10,
		ReadHeaderTimeout: 5 * time.Second, ReadTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		ConnState: s.count,
	}
	go func() { _ = server.Serve(listener) }()
	return server
}

// count closes connections that are too many.
func (s *status) count(connection net.Conn, state http.ConnState) {
	switch state {
	case http.StateNew:
		if s.clients.Add(1) > mostClients {
			_ = connection.Close()
		}
	case http.StateClosed, http.StateHijacked:
		s.clients.Add(-1)
	case http.StateActive, http.StateIdle:
	}
}

// missing is what keeps Envoy from serving, as admin.missing. Who asks meanwhile waits
// for the same answer.
func (s *status) missing() []string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	if s.looked.IsZero() || time.Since(s.looked) >= freshFor {
		// Not with the context of who happened to ask first.
		s.found, s.looked = s.admin.missing(context.Background()), time.Now()
	}
	return slices.Clone(s.found)
}

// noteReady remembers when Envoy served for the first time.
func (s *status) noteReady(ctx context.Context) {
	for ; ctx.Err() == nil; time.Sleep(pollEvery) {
		if len(s.missing()) == 0 {
			s.readyAfter.Store(int64(time.Since(s.started)))
			return
		}
	}
}

// healthz says that this process and Envoy run: it ends with Envoy.
func (s *status) healthz(w http.ResponseWriter, _ *http.Request) {
	_, _ = fmt.Fprintln(w, "Envoy runs.")
}

// readyz says what keeps Envoy from serving.
func (s *status) readyz(w http.ResponseWriter, _ *http.Request) {
	missing := s.missing()
	if len(missing) == 0 {
		missing = s.mesh.unsettled()
	}
	if s.sidecar.drains() {
		missing = append(missing, "the pod is draining")
	}
	if len(missing) > 0 {
		http.Error(w, strings.Join(missing, "\n"), http.StatusServiceUnavailable)
		return
	}
	_, _ = fmt.Fprintln(w, "Envoy serves.")
}

// meshStatus is a lifecycle.MeshStatus.
func (s *status) meshStatus(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	body, err := json.MarshalIndent(s.mesh.state().status, "", "  ")
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	_, _ = w.Write(append(body, '\n'))
}

// quitquitquit ends the sidecar of a pod that is meant to end, when its app asks.
func (s *status) quitquitquit(w http.ResponseWriter, r *http.Request) {
	if !s.sidecar.Run.QuitWithApp {
		http.Error(w, "This sidecar ends with its pod: /quitquitquit is for Jobs whose sidecar is a plain container.", http.StatusForbidden)
		return
	}
	from, _ := netip.ParseAddrPort(r.RemoteAddr)
	to, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	// What comes from the pod itself comes from the address that it goes to.
	if address := from.Addr().Unmap(); !address.IsLoopback() && (to == nil || address != to.AddrPort().Addr().Unmap()) {
		http.Error(w, "Only the pod's own containers may end its sidecar.", http.StatusForbidden)
		return
	}
	select {
	case s.quit <- struct{}{}:
	default: // it is ending already
	}
	_, _ = fmt.Fprintln(w, "Envoy is told to end.")
}
