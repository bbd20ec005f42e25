package meshservice

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

// TestAdaptiveConcurrencyKeepsLatencyUnderOverload calls an app that can work on four
// requests at the same time with 150 clients at once. What is above is turned away
// at once, so that the others take about as long as ever, and the app gets as much
// done. On a port where nobody asked for it nothing is turned away, and everybody
// waits for everybody else.
func TestAdaptiveConcurrencyKeepsLatencyUnderOverload(t *testing.T) {
	c := newCluster(t)
	p := c.pod("shop", "shop.test")
	c.serve(p, pool(4), "8080")
	c.serve(p, pool(4), "8081")
	c.meshedIn(p, `inbound:
		- port: 8080
		  adaptiveConcurrency: {}
		- port: 8081
	`, sandbox.App{})
	clients := c.client(c.pod("clients"))

	alone := overload(t.Context(), clients, "http://shop.test:8081/", 1, 2*time.Second)
	limited := overload(t.Context(), clients, "http://shop.test:8080/", 150, 5*time.Second)
	control := overload(t.Context(), clients, "http://shop.test:8081/", 150, 5*time.Second)
	t.Logf("p99 %.1f times that of a client alone, without it %.1f times; goodput %.2f of what it is without; %.0f %% turned away",
		ratio(limited.p99(), alone.p99()), ratio(control.p99(), alone.p99()), float64(len(limited.good))/float64(len(control.good)), 100*limited.refusedShare())
	if control.refused > 0 {
		t.Errorf("%d requests were turned away where nobody asked for it", control.refused)
	}
	if control.p99() < 8*alone.p99() {
		t.Errorf("without it p99 is %s, and %s for a client alone: this is no overload", control.p99(), alone.p99())
	}
	if limited.p99() > control.p99()/3 {
		t.Errorf("p99 is %s, and %s without it: want a third at most", limited.p99(), control.p99())
	}
	if limited.refused == 0 || limited.failed+control.failed > 0 {
		t.Errorf("%d turned away, %d and %d failed in another way", limited.refused, limited.failed, control.failed)
	}
	if len(limited.good)*10 < len(control.good)*6 {
		t.Errorf("%d requests got done, and %d without it: want six tenths at least", len(limited.good), len(control.good))
	}
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// pool is an app with so many workers, each of which takes a while.
func pool(workers int) http.HandlerFunc {
	free := make(chan struct{}, workers)
	return func(http.ResponseWriter, *http.Request) {
		free <- struct{}{}
		time.Sleep(20 * time.Millisecond)
		<-free
	}
}

// results of an overload.
type results struct {
	good            []time.Duration
	refused, failed int
}

func (r *results) p99() time.Duration {
	if len(r.good) == 0 {
		return 0
	}
	slices.Sort(r.good)
	return r.good[len(r.good)*99/100]
}

func (r *results) refusedShare() float64 {
	return float64(r.refused) / float64(max(1, r.refused+len(r.good)))
}

// overload has clients call one after the other for a time, of which the first
// quarter does not count. One that was turned away waits a while, as clients should.
func overload(ctx context.Context, by http.RoundTripper, url string, clients int, during time.Duration) *results {
	begin := time.Now()
	var mutex sync.Mutex
	var all sync.WaitGroup
	r := &results{}
	for range clients {
		all.Go(func() {
			for time.Since(begin) < during {
				sent := time.Now()
				a := ask(ctx, by, http.MethodGet, url)
				took := time.Since(sent)
				if sent.Sub(begin) > during/4 {
					mutex.Lock()
					switch a.code {
					case http.StatusOK:
						r.good = append(r.good, took)
					case http.StatusServiceUnavailable:
						r.refused++
					default:
						r.failed++
					}
					mutex.Unlock()
				}
				if a.code == http.StatusServiceUnavailable {
					time.Sleep(300 * time.Millisecond)
				}
			}
		})
	}
	all.Wait()
	return r
}
