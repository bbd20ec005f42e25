package webhook

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/pillion-mesh/pillion/injector"
)

func TestBadReviewIsAnsweredInOneLine(t *testing.T) {
	good := reviewOf(testPod)
	deep := strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000)
	tests := []struct {
		name, body string
		status     int
		says       string
	}{
		{"empty", "", 400, "empty"},
		{"only white space", " \n", 400, "empty"},
		{"not JSON", "hello", 400, "decoding the AdmissionReview"},
		{"truncated", good[:len(good)-10], 400, "unexpected EOF"},
		{"two documents", good + good, 400, "after top-level value"},
		{"v1beta1", strings.Replace(good, "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1), 400, "accepted is an AdmissionReview of admission.k8s.io/v1"},
		{"another kind", strings.Replace(good, "AdmissionReview", "SubjectAccessReview", 1), 400, `"SubjectAccessReview"`},
		{"no request", `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}`, 400, "request.uid is missing"},
		{"null request", `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":null}`, 400, "request.uid is missing"},
		{"no UID", strings.Replace(good, testUID, "", 1), 400, "request.uid is missing"},
		{"a long UID", strings.Replace(good, testUID, strings.Repeat("u", 129), 1), 400, "request.uid has 129 bytes"},
		{"no object", reviewOf("null"), 400, "request.object is missing"},
		{"an object of another shape", reviewOf(`{"spec":{"containers":"app"}}`), 400, "/request/object/spec/containers"},
		{"a member twice", reviewOf(`{"spec":{"hostNetwork":true,"hostNetwork":false}}`), 400, "duplicate"},
		{"invalid UTF-8", reviewOf(`{"metadata":{"name":"` + "\xff" + `"}}`), 400, "UTF-8"},
		{"100,000 levels in the review", `{"a":` + deep + "}", 400, "depth"},
		{"100,000 levels in the pod", reviewOf(`{"metadata":{"new":` + deep + `}}`), 400, "depth"},
		{"100,000 open arrays", `{"a":` + strings.Repeat("[", 100_000), 400, "depth"},
		{"10 MiB", reviewOf(`"` + strings.Repeat("a", 10<<20) + `"`), 413, "3145728"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h, _ := newTestHandler(decided(injected()))
			w := post(h, test.body)
			if w.Code != test.status || !strings.Contains(w.Body.String(), test.says) {
				t.Errorf("got HTTP %d %q, want %d that says %q", w.Code, w.Body, test.status, test.says)
			}
			if line := w.Body.String(); strings.Count(line, "\n") != 1 || !strings.HasPrefix(line, "PIL090 BadReview: ") || len(line) > 600 {
				t.Errorf("not one short line with the reason's code: %q", line)
			}
		})
	}
}

// A body without a declared length is bounded as it comes.
func TestBodyOfUnknownLengthIsBounded(t *testing.T) {
	h, _ := newTestHandler(decided(injected()))
	r := httptest.NewRequest(http.MethodPost, "/mutate", strings.NewReader(strings.Repeat(" ", maxBody+1)))
	r.Header.Set("Content-Type", contentType)
	r.ContentLength = -1
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	if w.Code != http.StatusRequestEntityTooLarge {
		t.Errorf("got HTTP %d %q", w.Code, w.Body)
	}
	if grown := h.bodies.grown.Load(); grown != 0 {
		t.Errorf("%d bytes are still counted as taken", grown)
	}
}

func TestBodiesShareBoundedMemory(t *testing.T) {
	h, _ := newTestHandler(decided(injected()))
	h.bodies.grown.Store(maxGrownBytes)
	if w := post(h, reviewOf(testPod)); w.Code != http.StatusOK {
		t.Errorf("a small review needs none of the shared memory, but got HTTP %d %q", w.Code, w.Body)
	}
	large := reviewOf(`{"metadata":{"annotations":{"a":"` + strings.Repeat("a", firstBuffer) + `"}}}`)
	if w := post(h, large); w.Code != http.StatusServiceUnavailable || !strings.HasPrefix(w.Body.String(), "PIL091") {
		t.Errorf("got HTTP %d %q", w.Code, w.Body)
	}
	h.bodies.grown.Store(0)
	if w := post(h, large); w.Code != http.StatusOK {
		t.Errorf("got HTTP %d %q", w.Code, w.Body)
	}
	if grown := h.bodies.grown.Load(); grown != 0 {
		t.Errorf("%d bytes are still counted as taken", grown)
	}
}

func TestHeaderIsStrict(t *testing.T) {
	tests := []struct {
		name, method, contentType, encoding string
		status                              int
	}{
		{"as kube-apiserver sends it", "POST", "application/json", "", 200},
		{"with a charset", "POST", `application/json; charset="UTF-8"`, "", 200},
		{"GET", "GET", "application/json", "", 405},
		{"PUT", "PUT", "application/json", "", 405},
		{"no content type", "POST", "", "", 415},
		{"form", "POST", "application/x-www-form-urlencoded", "", 415},
		{"protobuf", "POST", "application/vnd.kubernetes.protobuf", "", 415},
		{"another charset", "POST", "application/json; charset=latin1", "", 415},
		{"another parameter", "POST", "application/json; v=1", "", 415},
		{"gzip", "POST", "application/json", "gzip", 415},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h, _ := newTestHandler(decided(injected()))
			r := httptest.NewRequest(test.method, "/mutate", strings.NewReader(reviewOf(testPod)))
			r.Header.Set("Content-Type", test.contentType)
			r.Header.Set("Content-Encoding", test.encoding)
			w := httptest.NewRecorder()
			h.ServeHTTP(w, r)
			if w.Code != test.status {
				t.Errorf("got HTTP %d %q, want %d", w.Code, w.Body, test.status)
			}
		})
	}
}

func TestReviewKeepsTheBytesOfThePod(t *testing.T) {
	for _, pod := range []string{testPod, `{}`, `{ "new" : [ 1.0e3, "\u00e9" ] , "spec":{}}`} {
		for _, before := range []string{"", " ", "\n\t "} {
			review := strings.Replace(reviewOf("POD"), "POD", before+pod, 1)
			request, _, err := decodePodReview([]byte(review))
			if err != nil {
				t.Fatal(err)
			}
			if raw := string(request.Object.raw([]byte(review))); raw != pod {
				t.Errorf("got %q, want %q", raw, pod)
			}
		}
	}
	_, got, err := decodePodReview([]byte(reviewOf(testPod)))
	if err != nil {
		t.Fatal(err)
	}
	if text := got.Metadata.GenerateName + got.Spec.Containers[0].Image; text != "app-app:1" {
		t.Errorf("the pod was not decoded: %q", text)
	}
}

// What is not the creation of a pod is left alone, whatever its object looks like.
func TestOtherOperationsAreLeftAlone(t *testing.T) {
	change := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(reviewOf(testPod)) }
	tests := map[string]string{
		"update":               change(`"CREATE"`, `"UPDATE"`),
		"delete":               strings.NewReplacer(`"CREATE"`, `"DELETE"`).Replace(reviewOf("null")),
		"ephemeral containers": change(`"operation"`, `"subResource":"ephemeralcontainers","operation"`, `"CREATE"`, `"UPDATE"`),
		"eviction":             change(`"operation"`, `"subResource":"eviction","operation"`, `"kind":"Pod"}`, `"kind":"Eviction"}`),
		"another kind":         strings.NewReplacer(`"kind":"Pod"`, `"kind":"Widget"`).Replace(reviewOf(`{"metadata":{"name":"w"},"spec":"round"}`)),
		"another group":        change(`{"group":"",`, `{"group":"example.com",`),
	}
	for name, body := range tests {
		t.Run(name, func(t *testing.T) {
			h, _ := newTestHandler(func(injector.Request) injector.Result { panic("asked") })
			response := responseOf(t, post(h, body))
			if !response.Allowed || response.Patch != nil || response.PatchType != nil {
				t.Errorf("got %+v", response)
			}
			if got := response.AuditAnnotations["reason"]; got != "PIL019 NotACreate" {
				t.Errorf("the reason is %q", got)
			}
		})
	}
}

// Whatever comes, the process lives, and what is not an answer is an error.
func FuzzAdmissionReview(f *testing.F) {
	f.Add([]byte(reviewOf(testPod)))
	f.Add([]byte(reviewOf("null")))
	f.Add([]byte(reviewOf(`{"spec":{"containers":[null]},"metadata":{"labels":{"a":1}}}`)))
	f.Add([]byte(strings.Repeat("[", 20_000)))
	f.Add([]byte(""))
	h, _ := newTestHandler(decided(injected()))
	f.Fuzz(func(t *testing.T, body []byte) {
		w := post(h, string(body))
		if w.Code == http.StatusInternalServerError && !bytes.HasPrefix(w.Body.Bytes(), []byte("PIL093")) {
			t.Fatalf("HTTP 500: %s", w.Body)
		}
		if w.Code != http.StatusOK {
			return
		}
		request, _, err := decodePodReview(body)
		if err != nil {
			t.Fatalf("answered, but cannot be read: %v", err)
		}
		if !bytes.Contains(w.Body.Bytes(), []byte(`"allowed":true`)) {
			t.Fatalf("not allowed: %s", w.Body)
		}
		if !request.isPodCreation() && bytes.Contains(w.Body.Bytes(), []byte(`"patch"`)) {
			t.Fatalf("changed something that is not a new pod: %s", w.Body)
		}
	})
}
