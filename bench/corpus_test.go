package bench

import (
	"bytes"
	"cmp"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/pillion-mesh/pillion/webhook"
)

// injectedCase is the service pod after its injection, which a corpus need not
// have: how it looks depends on the injector.
const injectedCase = "injected"

// reviewCase is one review and what our handler answers.
type reviewCase struct {
	name string
	// path is /mutate where it is empty.
	path string
	// review is the body of the request, and pod the object in it.
	review, pod []byte
	// patch is our answer's, nil for a pod that is left alone.
	patch []byte
	uid   string
}

// newAdmission is the real handler with the default configuration.
func newAdmission(tb testing.TB) http.Handler {
	tb.Helper()
	configuration := &webhook.Configuration{}
	if err := configuration.Load([]byte(defaultConfig)); err != nil {
		tb.Fatal(err)
	}
	return webhook.NewHandler(webhook.HandlerOptions{
		Configuration: configuration, Metrics: webhook.NewMetrics(), MaxInFlight: 256, SelfCheck: true,
		// As the program logs, but to nowhere.
		Log: slog.New(slog.NewJSONHandler(io.Discard, nil)),
	})
}

const defaultConfig = "apiVersion: pillion.dev/v1alpha1\nkind: InjectorConfig\n"

// corpus reads the reviews, and makes the injected case where they have none.
func corpus(tb testing.TB, admission http.Handler) []*reviewCase {
	tb.Helper()
	folder := os.Getenv("BENCH_CORPUS")
	if folder == "" {
		folder = "testdata"
	}
	paths, err := filepath.Glob(filepath.Join(folder, "*.json"))
	if err != nil || len(paths) == 0 {
		tb.Fatalf("BENCH_CORPUS: %s holds no *.json file with an AdmissionReview (%v)", folder, err)
	}
	var cases []*reviewCase
	var service *reviewCase
	injected := false
	for _, path := range paths {
		body, err := os.ReadFile(path)
		if err != nil {
			tb.Fatal(err)
		}
		c := newCase(tb, admission, strings.TrimSuffix(filepath.Base(path), ".json"), body)
		if c.name == "service" {
			service = c
		}
		injected = injected || c.name == injectedCase
		cases = append(cases, c)
	}
	if !injected && service != nil {
		cases = append(cases, newCase(tb, admission, injectedCase, service.afterInjection(tb)))
	}
	return cases
}

func newCase(tb testing.TB, admission http.Handler, name string, body []byte) *reviewCase {
	tb.Helper()
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil || review.Request == nil {
		tb.Fatalf("%s.json is not an AdmissionReview with a request: %v", name, err)
	}
	c := &reviewCase{name: name, review: body, pod: review.Request.Object.Raw, uid: string(review.Request.UID)}
	w := httptest.NewRecorder()
	admission.ServeHTTP(w, c.request())
	var answer admissionv1.AdmissionReview
	if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil || answer.Response == nil || !answer.Response.Allowed {
		tb.Fatalf("%s.json is refused, HTTP %d: %s", name, w.Code, w.Body)
	}
	c.patch = answer.Response.Patch
	return c
}

// afterInjection is the review of the pod with its sidecar.
func (c *reviewCase) afterInjection(tb testing.TB) []byte {
	tb.Helper()
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(c.review, &review); err != nil {
		tb.Fatal(err)
	}
	review.Request.Object.Raw = c.patched(tb)
	return encode(tb, &review)
}

// patched is the pod with the patch applied by kube-apiserver's own engine.
func (c *reviewCase) patched(tb testing.TB) []byte {
	tb.Helper()
	if c.patch == nil {
		return c.pod
	}
	patch, err := jsonpatch.DecodePatch(c.patch)
	if err != nil {
		tb.Fatal(err)
	}
	patched, err := patch.Apply(c.pod)
	if err != nil {
		tb.Fatal(err)
	}
	return patched
}

// request is what net/http's server makes of what kube-apiserver sends. It is
// built by hand, so that little but the handler is measured.
func (c *reviewCase) request() *http.Request {
	return &http.Request{
		Method: http.MethodPost, URL: &url.URL{Path: cmp.Or(c.path, "/mutate"), RawQuery: "timeout=5s"}, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{"Content-Type": {"application/json"}, "Accept": {"application/json"}},
		Body:   io.NopCloser(bytes.NewReader(c.review)), ContentLength: int64(len(c.review)),
	}
}

// measure runs a handler on a case.
func (c *reviewCase) measure(b *testing.B, handler http.Handler) {
	b.Helper()
	b.ReportAllocs()
	for b.Loop() {
		w := httptest.NewRecorder()
		handler.ServeHTTP(w, c.request())
		if w.Code != http.StatusOK {
			b.Fatalf("HTTP %d: %s", w.Code, w.Body)
		}
	}
}
