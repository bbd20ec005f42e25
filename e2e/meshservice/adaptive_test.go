package meshservice

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

// working is how long the app of TestAdaptiveConcurrencyKeepsLatencyUnderOverload takes.
const working = 50 * time.Millisecond

// TestAdaptiveConcurrencyKeepsLatencyUnderOverload calls an app that can work on four
// requests at the same time with 60 clients at once. What is above is turned away
// at once, so that the others take about as long as ever, and the app gets as much
// done. On a port where nobody asked for it nothing is turned away, and everybody
// waits for everybody else. How many requests wait for is counted in the app, too: of the
// longest times, a busy machine has a part.
func TestAdaptiveConcurrencyKeepsLatencyUnderOverload(t *testing.T) {
	c := newCluster(t)
	p := c.pod("shop", "shop.test")
	few, many := newPool(4), newPool(4)
	c.serve(p, few.ServeHTTP, "8080")
	c.serve(p, many.ServeHTTP, "8081")
	c.meshedIn(p, `inbound:
		- port: 8080
		  adaptiveConcurrency: {}
		- port: 8081
	`, sandbox.App{})
	clients := c.client(c.pod("clients"))

	// Envoy takes a machine that is busy elsewhere for an app that has become slower. So one good
	// pair of runs of three is enough: without the feature there is none.
	var missed []string
	for range 3 {
		few.forget()
		many.forget()
		limited := overload(t.Context(), clients, "http://shop.test:8080/", 60, 600)
		control := overload(t.Context(), clients, "http://shop.test:8081/", 60, 600)
		ahead, aheadControl := few.ahead(99), many.ahead(99)
		t.Logf("p50 and p99 %.1f and %.1f times the app's own, without it %.1f and %.1f times; requests ahead %d, without it %d; goodput %.2f of what it is without; %.0f %% turned away",
			ratio(limited.percentile(50), working), ratio(limited.percentile(99), working), ratio(control.percentile(50), working), ratio(control.percentile(99), working),
			ahead, aheadControl, limited.rate()/control.rate(), 100*limited.refusedShare())
		if limited.refused == 0 || limited.failed+control.failed > 0 {
			t.Fatalf("%d turned away, %d and %d failed in another way", limited.refused, limited.failed, control.failed)
		}
		if control.refused > 0 {
			t.Fatalf("%d requests were turned away where nobody asked for it", control.refused)
		}
		if control.percentile(99) < 8*working {
			t.Fatalf("without it p99 is %s, and the app works %s: this is no overload", control.percentile(99), working)
		}
		if missed = limited.misses(control, ahead, aheadControl); len(missed) == 0 {
			return
		}
	}
	for _, what := range missed {
		t.Error(what)
	}
}

func ratio(a, b time.Duration) float64 { return float64(a) / float64(b) }

// pool is an app with so many workers, each of which takes a while.
type pool struct {
	free  chan struct{}
	mutex sync.Mutex
	// inside is how many it has, and found how many each request found.
	inside int
	found  []int
}

func newPool(workers int) *pool { return &pool{free: make(chan struct{}, workers)} }

func (p *pool) ServeHTTP(http.ResponseWriter, *http.Request) {
	p.mutex.Lock()
	p.found = append(p.found, p.inside)
	p.inside++
	p.mutex.Unlock()
	p.free <- struct{}{}
	time.Sleep(working)
	<-p.free
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.inside--
}

// forget what requests found so far.
func (p *pool) forget() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.found = nil
}

// ahead is a percentile of how many a request found, but for the first quarter of them.
func (p *pool) ahead(percent int) int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	found := slices.Sorted(slices.Values(p.found[len(p.found)/4:]))
	if len(found) == 0 {
		return 0
	}
	return found[len(found)*percent/100]
}

// results of an overload.
type results struct {
	good            []time.Duration
	refused, failed int
	during          time.Duration
}

// rate is how many requests got done in a second.
func (r *results) rate() float64 { return float64(len(r.good)) / r.during.Seconds() }

func (r *results) percentile(percent int) time.Duration {
	if len(r.good) == 0 {
		return 0
	}
	slices.Sort(r.good)
	return r.good[len(r.good)*percent/100]
}

// misses says what of the feature's promise a run does not keep.
func (r *results) misses(control *results, ahead, aheadControl int) (missed []string) {
	miss := func(format string, arguments ...any) { missed = append(missed, fmt.Sprintf(format, arguments...)) }
	if r.percentile(50) > control.percentile(50)/3 {
		miss("p50 is %s, and %s without it: want a third at most", r.percentile(50), control.percentile(50))
	}
	if r.percentile(99) > control.percentile(99)/2 {
		miss("p99 is %s, and %s without it: want half at most", r.percentile(99), control.percentile(99))
	}
	if ahead > aheadControl/2 {
		miss("of a hundred requests 99 find up to %d in the app, and %d without it: want half at most", ahead, aheadControl)
	}
	if r.rate()*10 < control.rate()*6 {
		miss("%.0f requests a second got done, and %.0f without it: want six tenths at least", r.rate(), control.rate())
	}
	return missed
}

func (r *results) refusedShare() float64 {
	return float64(r.refused) / float64(max(1, r.refused+len(r.good)))
}

// overload has clients call one after the other until so many requests got done, of which
// the first quarter does not count: a slow machine does not do less, it takes longer.
// A client that was turned away waits a while, as clients should.
func overload(ctx context.Context, by http.RoundTripper, url string, clients, requests int) *results {
	var mutex sync.Mutex
	var all sync.WaitGroup
	done, begin, r := 0, time.Now(), &results{}
	count := func(a answer, took time.Duration) (more bool) {
		mutex.Lock()
		defer mutex.Unlock()
		if done == requests {
			return false
		}
		switch a.code {
		case http.StatusOK:
			if done++; done == requests/4 {
				*r, begin = results{}, time.Now()
			}
			r.good = append(r.good, took)
		case http.StatusServiceUnavailable:
			r.refused++
		default:
			r.failed++
		}
		r.during = time.Since(begin)
		return done < requests && r.failed == 0 && r.during < longest
	}
	for range clients {
		all.Go(func() {
			for more := true; more; {
				sent := time.Now()
				a := ask(ctx, by, http.MethodGet, url)
				more = count(a, time.Since(sent))
				if a.code == http.StatusServiceUnavailable {
					time.Sleep(500 * time.Millisecond)
				}
			}
		})
	}
	all.Wait()
	return r
}
