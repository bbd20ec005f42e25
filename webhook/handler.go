package webhook

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"

	"github.com/pillion-mesh/pillion/injector"
)

const (
	// defaultTimeout is kube-apiserver's own where a request names none.
	defaultTimeout = 10 * time.Second
	// maxTimeout is the largest timeoutSeconds of a webhook configuration.
	maxTimeout = 30 * time.Second
	// timeoutMargin is for the way back: an answer that comes later than the
	// client waits is of no use.
	timeoutMargin = 300 * time.Millisecond
	// bodyTimeout is how long a body may take to arrive, behind its header.
	bodyTimeout = 5 * time.Second
	// failuresLogged of one reason in a second, at most; metrics count them all.
	failuresLogged = 1
)

// Handler answers POST /mutate, about new pods, POST /validate-workload, about the
// workloads that will make them, and POST /validate-meshservice. All share the bounds.
type Handler struct {
	configuration *Configuration
	metrics       *Metrics
	log           *slog.Logger
	maxInFlight   int64
	selfCheck     bool

	inFlight    atomic.Int64
	lateness    lateness
	draining    atomic.Bool
	bodies      bodies
	panics      panics
	logFailures map[string]*rate.Sometimes
}

// HandlerOptions are a Handler's settings.
type HandlerOptions struct {
	Configuration *Configuration
	Metrics       *Metrics
	Log           *slog.Logger
	// MaxInFlight is how many requests are decided on at a time; others get
	// HTTP 503 at once.
	MaxInFlight int
	// SelfCheck applies each patch to its pod before it is sent.
	SelfCheck bool
}

// NewHandler makes a Handler.
func NewHandler(o HandlerOptions) *Handler {
	h := &Handler{
		configuration: o.Configuration, metrics: o.Metrics, log: o.Log,
		maxInFlight: int64(o.MaxInFlight), selfCheck: o.SelfCheck,
		logFailures: make(map[string]*rate.Sometimes),
	}
	for _, reason := range injector.Reasons() {
		if reason.Kind == injector.KindRequest {
			h.logFailures[reason.Code] = &rate.Sometimes{First: failuresLogged, Interval: time.Second}
		}
	}
	return h
}

// decide fills in the answer to the review in body: its request first, so that a
// failure can be told with it, and then the verdict or the failure.
type decide func(a *answer, body []byte)

// ServeHTTP implements http.Handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/mutate":
		h.serve(w, r, h.decideOnPod)
	case "/validate-workload":
		h.serve(w, r, h.decideOnWorkload(""))
	case "/validate-workload/baseline":
		h.serve(w, r, h.decideOnWorkload("baseline"))
	case "/validate-workload/restricted":
		h.serve(w, r, h.decideOnWorkload("restricted"))
	case "/validate-meshservice":
		h.serve(w, r, h.decideOnMeshService)
	default:
		http.NotFound(w, r)
	}
}

func (h *Handler) serve(w http.ResponseWriter, r *http.Request, decide decide) {
	started := time.Now()
	h.metrics.inFlight.Inc()
	defer h.metrics.inFlight.Dec()
	a := h.answer(w, r, started.Add(timeoutOf(r)), decide)
	if h.draining.Load() || connectionOf(r.Context()).isOld(started) {
		w.Header().Set("Connection", "close")
	}
	h.write(w, &a)
	h.record(r.Context(), &a, time.Since(started))
}

// answer decides on a request, whatever happens.
func (h *Handler) answer(w http.ResponseWriter, r *http.Request, deadline time.Time, decide decide) (a answer) {
	defer func() {
		if recovered := recover(); recovered != nil {
			h.metrics.panics.Inc()
			a = answer{request: a.request, failure: h.panics.failure(recovered)}
		}
	}()
	if f := checkHeader(r); f != nil {
		return answer{failure: f}
	}
	if err := h.lateness.exceeds(maxLateness, time.Now()); err != nil {
		return answer{failure: overload(err)}
	}
	body, f := h.readBody(w, r, deadline)
	if f != nil {
		return answer{failure: f}
	}
	defer body.release()
	connectionOf(r.Context()).setBusy()

	defer h.inFlight.Add(-1)
	if h.inFlight.Add(1) > h.maxInFlight {
		return answer{failure: overload(fmt.Errorf("%d requests are being answered", h.maxInFlight))}
	}
	if r.Context().Err() != nil || time.Now().After(deadline) {
		return answer{failure: overload(errors.New("the time that the request allows was over before its turn came"))}
	}
	decide(&a, body.bytes)
	return a
}

// configured is what requests are answered from at the moment.
func (h *Handler) configured() (*loaded, *failure) {
	if current := h.configuration.current.Load(); current != nil {
		return current, nil
	}
	return nil, &failure{
		status: http.StatusServiceUnavailable, reason: injector.ReasonNoConfig,
		err: errors.New("no configuration was ever loaded; the log says why"),
	}
}

func (h *Handler) readBody(w http.ResponseWriter, r *http.Request, deadline time.Time) (*body, *failure) {
	if latest := time.Now().Add(bodyTimeout); latest.Before(deadline) {
		deadline = latest
	}
	controller := http.NewResponseController(w)
	// Not every ResponseWriter has deadlines: a recorder in a test has none.
	if err := controller.SetReadDeadline(deadline); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return nil, badReview(http.StatusBadRequest, fmt.Errorf("bounding the time to read the body: %w", err))
	}
	return h.bodies.read(r.Body)
}

// write sends the response. A client that has gone by then is of no concern.
func (h *Handler) write(w http.ResponseWriter, a *answer) {
	if a.failure == nil {
		encoded, err := a.review()
		if err == nil {
			w.Header().Set("Content-Type", "application/json")
			w.Header().Set("Content-Length", strconv.Itoa(len(encoded)))
			_, _ = w.Write(encoded)
			return
		}
		a.failure = &failure{status: http.StatusInternalServerError, reason: injector.ReasonInternal, err: err}
	}
	if a.failure.reason == injector.ReasonOverload {
		// kube-apiserver takes this as a wish to be asked again, within
		// timeoutSeconds: the pod need not go without its sidecar.
		w.Header().Set("Retry-After", "1")
	}
	http.Error(w, a.failure.Error(), a.failure.status)
}

// record counts and logs one answered request. What is logged about an object is its
// namespace, its name and what was said.
func (h *Handler) record(ctx context.Context, a *answer, took time.Duration) {
	h.metrics.record(a, took)
	if a.failure != nil {
		h.logFailure(ctx, a, took)
		return
	}
	level := a.verdict.level()
	if !h.log.Enabled(ctx, level) {
		return
	}
	const usualAttributes = 10
	message, attributes := a.verdict.line(a.request, make([]slog.Attr, 0, usualAttributes))
	h.log.LogAttrs(ctx, level, message, append(attributes,
		slog.String("namespace", clip(a.request.Namespace)), slog.String("uid", a.request.UID),
		slog.Bool("dryRun", a.request.DryRun), slog.Duration("took", took))...)
}

func (h *Handler) logFailure(ctx context.Context, a *answer, took time.Duration) {
	attributes := []slog.Attr{
		slog.String("reason", a.failure.reason.String()), slog.Int("status", a.failure.status),
		slog.String("error", a.failure.err.Error()), slog.Duration("took", took),
	}
	if a.request != nil {
		attributes = append(attributes, slog.String("kind", clip(a.request.Kind.Kind)), slog.String("namespace", clip(a.request.Namespace)),
			slog.String("name", clip(a.request.shownName())), slog.String("uid", a.request.UID))
	}
	level := slog.LevelError
	if a.failure.status < http.StatusInternalServerError {
		level = slog.LevelWarn // the client's mistake
	}
	log := func() { h.log.LogAttrs(ctx, level, "request failed", attributes...) }
	if a.failure.stack != nil {
		attributes = append(attributes, slog.String("stack", string(a.failure.stack)))
		log()
		return
	}
	h.logFailures[a.failure.reason.Code].Do(log)
}

// timeoutOf is how long the client waits for the answer, less the way back.
func timeoutOf(r *http.Request) time.Duration {
	timeout, err := time.ParseDuration(r.URL.Query().Get("timeout"))
	if err != nil || timeout <= 0 {
		timeout = defaultTimeout
	}
	return max(min(timeout, maxTimeout)-timeoutMargin, timeoutMargin)
}
