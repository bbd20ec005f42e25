package envoy

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
)

// TestFallbackAndBreakers: a breaker of where a route leads comes before the fallback. That
// is what the pages say and what a document is warned of; should an Envoy ever fall
// back, they are to say so.
func TestFallbackAndBreakers(t *testing.T) {
	for _, fallback := range []string{"{when: Absent}", "{when: Fails}"} {
		t.Run(fallback, func(t *testing.T) {
			came, release := make(chan struct{}, 1), make(chan struct{})
			goOn := sync.OnceFunc(func() { close(release) })
			origin := serve(t, say("entities"))
			cache := serve(t, func(w http.ResponseWriter, r *http.Request) {
				came <- struct{}{}
				<-release
				say("cache")(w, r)
			})
			t.Cleanup(goOn)
			document := strings.Replace(fallbackDocument, "name: cache,", "name: cache, breakers: {maxRequests: 1},", 1)
			p := start(t, rendered(t, fmt.Appendf(nil, document, origin.port, fallback, "here.test", cache.port)))
			host, cached := fmt.Sprint("here.test:", origin.port), http.Header{"X-Cached": {"yes"}}
			first := make(chan string, 1)
			go func() {
				_, body, _ := p.call(t, "POST", host, "/", cached)
				first <- body
			}()
			<-came
			if code, body, _ := p.call(t, "GET", host, "/", cached); code != http.StatusServiceUnavailable || origin.requests.Load() != 0 {
				t.Errorf("one too many: HTTP %d %q, and the origin was asked %d times; want 503 and 0", code, body, origin.requests.Load())
			}
			goOn()
			if body := <-first; body != "cache" {
				t.Errorf("the first one was answered %q", body)
			}
		})
	}
}

// TestFallbackAndTimeout: the timeout of the destination that was called is for both
// destinations together, whatever the request falls back for.
func TestFallbackAndTimeout(t *testing.T) {
	const document = `{apiVersion: pillion.dev/v1alpha1, kind: MeshService, metadata: {name: checkout, namespace: shop}, spec: {egress: [
		{name: entities, host: here.test, port: %d, timeout: 300ms, routes: [{headers: [{name: x-cached, value: "yes"}], to: cache, fallback: %s}]},
		{name: cache, host: here.test, port: %d}]}}`
	for _, test := range []struct{ fallback, method string }{{whereAbsent, "GET"}, {whereLate, "GET"}, {whereLate, "POST"}} {
		t.Run(test.fallback+" "+test.method, func(t *testing.T) {
			t.Parallel()
			origin, cache := serve(t, hang), serve(t, hang)
			p := start(t, rendered(t, fmt.Appendf(nil, document, origin.port, test.fallback, cache.port)))
			if code, body, _ := p.call(t, test.method, fmt.Sprint("here.test:", origin.port), "/", http.Header{"X-Cached": {"yes"}}); code != http.StatusGatewayTimeout {
				t.Errorf("HTTP %d %q, want 504", code, body)
			}
		})
	}
}
