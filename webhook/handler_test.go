package webhook

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"gomodules.xyz/jsonpatch/v2"

	"github.com/pillion-mesh/pillion/injector"
)

func TestPanicIsAnswered500AndProcessLives(t *testing.T) {
	h, lines := newTestHandler(func(r injector.Request) injector.Result {
		if r.Pod.Metadata.GenerateName == "app-" {
			panic("a bug")
		}
		return injected()
	})
	for range 3 {
		w := post(h, reviewOf(testPod))
		if w.Code != http.StatusInternalServerError || w.Body.String() != "PIL092 Internal: panic: a bug\n" {
			t.Errorf("got HTTP %d %q", w.Code, w.Body)
		}
	}
	if count := strings.Count(lines.String(), `"stack":`); count != 1 {
		t.Errorf("the stack was logged %d times, want once: %s", count, lines)
	}
	if !strings.Contains(lines.String(), "TestPanicIsAnswered500AndProcessLives") {
		t.Error("the stack does not show where the panic came from")
	}
	if got := value(t, h.metrics.panics); got != 3 {
		t.Errorf("%v panics counted, want 3", got)
	}
	if w := post(h, reviewOf("{}")); w.Code != http.StatusOK {
		t.Errorf("the next pod got HTTP %d %q", w.Code, w.Body)
	}
}

func TestStacksOfPanicsAreBounded(t *testing.T) {
	var p panics
	p.seen = make(map[panicSite]struct{})
	for n := range maxPanicSites {
		p.seen[panicSite{uintptr(n)}] = struct{}{}
	}
	if f := p.failure("one more"); f.stack != nil || len(p.seen) != maxPanicSites {
		t.Errorf("a stack from place %d was kept", len(p.seen))
	}
}

// The requests beyond capacity are answered while those within are still held: they
// do not queue.
func TestOverloadIsShedAtOnce(t *testing.T) {
	release := make(chan struct{})
	inside := make(chan struct{}, 4)
	var asked atomic.Int64
	h, _ := newTestHandler(func(injector.Request) injector.Result {
		if asked.Add(1) <= 4 {
			inside <- struct{}{}
			<-release
		}
		return injected()
	})
	var held sync.WaitGroup
	for range 4 {
		held.Go(func() {
			if w := post(h, reviewOf(testPod)); w.Code != http.StatusOK {
				t.Errorf("a request within capacity got HTTP %d %q", w.Code, w.Body)
			}
		})
	}
	for range 4 {
		<-inside
	}
	for range 20 {
		w := post(h, reviewOf(testPod))
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") != "1" || !strings.HasPrefix(w.Body.String(), "PIL091 Overload: ") {
			t.Errorf("beyond capacity: got HTTP %d %q, %v", w.Code, w.Body, w.Header())
		}
	}
	close(release)
	held.Wait()
	if w := post(h, reviewOf(testPod)); w.Code != http.StatusOK {
		t.Errorf("after the overload: got HTTP %d %q", w.Code, w.Body)
	}
}

func TestPatchThatDoesNotFitIsNeverSent(t *testing.T) {
	bad := injected()
	bad.Patch = []jsonpatch.Operation{{Operation: "replace", Path: "/spec/containers/7/image", Value: "x"}}
	h, lines := newTestHandler(decided(bad))
	w := post(h, reviewOf(testPod))
	if w.Code != http.StatusInternalServerError || !strings.HasPrefix(w.Body.String(), "PIL093 SelfCheck: ") {
		t.Errorf("got HTTP %d %q", w.Code, w.Body)
	}
	if !strings.Contains(lines.String(), `"uid":"`+testUID+`"`) {
		t.Errorf("the log does not say which request it was: %s", lines)
	}
	if got := value(t, h.metrics.failures.WithLabelValues("SelfCheck")); got != 1 {
		t.Errorf("%v failures counted, want 1", got)
	}
}

func TestWithoutConfigurationFailurePolicyDecides(t *testing.T) {
	h, _ := newTestHandler(nil)
	if w := post(h, reviewOf(testPod)); w.Code != http.StatusServiceUnavailable || !strings.HasPrefix(w.Body.String(), "PIL094 NoConfig: ") {
		t.Errorf("got HTTP %d %q", w.Code, w.Body)
	}
}

func TestDryRunGetsTheSamePatch(t *testing.T) {
	h, _ := newTestHandler(decided(injected()))
	wet := post(h, reviewOf(testPod)).Body.String()
	dry := post(h, strings.Replace(reviewOf(testPod), `"dryRun":false`, `"dryRun":true`, 1)).Body.String()
	if wet != dry {
		t.Errorf("a dry run got %q, not %q", dry, wet)
	}
	for _, dryRun := range []string{"true", "false"} {
		if got := value(t, h.metrics.admissions.WithLabelValues("inject", "Injected", dryRun)); got != 1 {
			t.Errorf("%v admissions counted with dry_run=%s, want 1", got, dryRun)
		}
	}
}

func TestDeadlineComesFromTheRequest(t *testing.T) {
	tests := map[string]time.Duration{
		"?timeout=5s": 4700 * time.Millisecond, "?timeout=1s": 700 * time.Millisecond, "?timeout=30s": 29700 * time.Millisecond,
		"?timeout=1h": 29700 * time.Millisecond, "?timeout=100ms": 300 * time.Millisecond,
		"": 9700 * time.Millisecond, "?timeout=x": 9700 * time.Millisecond, "?timeout=-5s": 9700 * time.Millisecond,
	}
	for query, want := range tests {
		if got := timeoutOf(httptest.NewRequest(http.MethodPost, "/mutate"+query, http.NoBody)); got != want {
			t.Errorf("%q: got %s, want %s", query, got, want)
		}
	}
}

// A pod whose client has stopped waiting is no work to be done.
func TestRequestWhoseTimeIsOverIsNotWorkedOn(t *testing.T) {
	h, _ := newTestHandler(func(injector.Request) injector.Result { panic("asked") })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/mutate", strings.NewReader(reviewOf(testPod)))
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusServiceUnavailable {
		t.Errorf("got HTTP %d %q", w.Code, w.Body)
	}
	a := h.answer(httptest.NewRecorder(), requestFor(t), time.Now().Add(-time.Second), h.decideOnPod)
	if a.failure == nil || a.failure.reason != injector.ReasonOverload {
		t.Errorf("past its deadline: got %+v", a)
	}
}

func requestFor(t *testing.T) *http.Request {
	t.Helper()
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, "/mutate", strings.NewReader(reviewOf(testPod)))
	r.Header.Set("Content-Type", contentType)
	return r
}

// Every request is counted once, and no request makes a new series.
func TestMetricsAreDisjointAndClosed(t *testing.T) {
	verdict := injector.Result{}
	h, _ := newTestHandler(func(injector.Request) injector.Result { return verdict })
	before := seriesCount(t, h.metrics.Registry)
	sent := 0
	for _, reason := range injector.Reasons() {
		verdict = injector.Result{Decision: injector.Decision{Verdict: injector.Verdict(reason.Kind), Reason: reason}}
		switch reason.Kind {
		case injector.KindWarning:
			verdict.Decision = injected().Decision
			verdict.Warnings = []injector.Warning{{Reason: reason, Message: "look"}}
		case injector.KindRequest:
			post(h, "not a review "+reason.Name)
			sent++
			continue
		}
		pod := strings.Replace(testPod, `"labels":{`, `"annotations":{"pillion.dev/`+reason.Name+`":"x"},"labels":{`, 1)
		for _, body := range []string{reviewOf(pod), strings.Replace(reviewOf(pod), `"dryRun":false`, `"dryRun":true`, 1)} {
			if w := post(h, body); w.Code != http.StatusOK {
				t.Fatalf("%s: HTTP %d %q", reason, w.Code, w.Body)
			}
			sent++
		}
	}
	if after := seriesCount(t, h.metrics.Registry); after != before {
		t.Errorf("%d series became %d", before, after)
	}
	counted := sum(t, h.metrics.Registry, "pillion_webhook_admissions_total") + sum(t, h.metrics.Registry, "pillion_webhook_requests_failed_total")
	if int(counted) != sent {
		t.Errorf("%d requests were sent, %v counted", sent, counted)
	}
}

// seriesCount is the number of the webhook's own series.
func seriesCount(t *testing.T, registry *prometheus.Registry) int {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, family := range families {
		if strings.HasPrefix(family.GetName(), "pillion_") {
			count += len(family.GetMetric())
		}
	}
	return count
}

func sum(t *testing.T, registry *prometheus.Registry, name string) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	total := 0.0
	for _, family := range families {
		if family.GetName() == name {
			for _, metric := range family.GetMetric() {
				total += metric.GetCounter().GetValue()
			}
		}
	}
	return total
}

// The log has what is needed to find a pod, and nothing else about it.
func TestLogHasNoPodData(t *testing.T) {
	h, lines := newTestHandler(decided(injected()))
	post(h, reviewOf(strings.Replace(testPod, "app:1", "secret:1", 1)))
	for _, want := range []string{`"namespace":"shop"`, `"pod":"app-"`, `"reason":"PIL001 Injected"`, `"operations":1`} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("no %s in %s", want, lines)
		}
	}
	if strings.Contains(lines.String(), "secret") || strings.Count(lines.String(), "\n") != 1 {
		t.Errorf("got %s", lines)
	}
}

func TestFloodOfBadRequestsDoesNotFillTheLog(t *testing.T) {
	h, lines := newTestHandler(decided(injected()))
	for n := range 1000 {
		post(h, "not a review "+strconv.Itoa(n))
	}
	if count := strings.Count(lines.String(), "\n"); count > 100 {
		t.Errorf("1000 bad requests were logged in %d lines", count)
	}
}

// deadlines records the read deadline that is set on it.
type deadlines struct {
	*httptest.ResponseRecorder
	read time.Time
}

func (d *deadlines) SetReadDeadline(deadline time.Time) error {
	d.read = deadline
	return nil
}

func TestBodyHasUntilTheDeadlineAtMost(t *testing.T) {
	h, _ := newTestHandler(decided(injected()))
	now := time.Now()
	soon := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	h.answer(soon, requestFor(t), now.Add(time.Second), h.decideOnPod)
	if !soon.read.Equal(now.Add(time.Second)) {
		t.Errorf("got %s, want the request's own deadline", soon.read.Sub(now))
	}
	late := &deadlines{ResponseRecorder: httptest.NewRecorder()}
	h.answer(late, requestFor(t), now.Add(time.Hour), h.decideOnPod)
	if late.read.IsZero() || late.read.After(time.Now().Add(bodyTimeout)) {
		t.Errorf("got %s, want at most %s", late.read.Sub(now), bodyTimeout)
	}
}
