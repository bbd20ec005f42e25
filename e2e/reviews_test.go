package e2e

import (
	"bytes"
	"compress/gzip"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionreviewv1 "k8s.io/api/admission/v1"

	"github.com/pillion-mesh/pillion/injector"
)

// caller sends the running webhook what kube-apiserver would not.
type caller struct {
	client *http.Client
	url    string
}

func newCaller(t *testing.T, i *installation) *caller {
	t.Helper()
	authorities := x509.NewCertPool()
	authorities.AppendCertsFromPEM(i.webhook.CA)
	name := i.release.Object("Service").GetName() + "." + ownNamespace + ".svc"
	port := i.release.Values["webhook"].(map[string]any)["port"]
	return &caller{
		client: &http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: authorities, ServerName: name}}},
		url:    fmt.Sprintf("https://localhost:%d/mutate?timeout=30s", port),
	}
}

// post returns the answer's status and text.
func (c *caller) post(t *testing.T, body []byte, headers ...string) (status int, text []byte) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodPost, c.url, bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := c.client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if text, err = io.ReadAll(response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, text
}

// review is an AdmissionReview about the creation of a pod.
func review(pod []byte) []byte {
	return fmt.Appendf(nil, `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","request":{"uid":"u","kind":{"group":"","version":"v1","kind":"Pod"},`+
		`"resource":{"group":"","version":"v1","resource":"pods"},"namespace":"shop","operation":"CREATE","dryRun":true,"object":%s,"oldObject":null}}`, pod)
}

// TestBadReviews: "AdmissionReview v1beta1, wrong kind, empty body, two JSON docs, wrong
// content type, gzip, 10 MiB, deep nesting 100k, missing UID: 4xx/5xx quickly, no crash",
// by the running program. The handler's own tests have more.
func TestBadReviews(t *testing.T) {
	installed := install(t, nil)
	c := newCaller(t, installed)
	good := string(review(asJSON(t, appPod("good"))))
	var zipped bytes.Buffer
	zip := gzip.NewWriter(&zipped)
	_, _ = zip.Write([]byte(good)) // a buffer takes all
	_ = zip.Close()
	nested := strings.Repeat(`{"a":`, 100_000) + "1" + strings.Repeat("}", 100_000)
	for name, bad := range map[string]struct {
		body    string
		headers []string
	}{
		"v1beta1":            {body: strings.Replace(good, "admission.k8s.io/v1", "admission.k8s.io/v1beta1", 1)},
		"wrong kind":         {body: strings.Replace(good, `"AdmissionReview"`, `"ConversionReview"`, 1)},
		"empty body":         {},
		"white space":        {body: " \n\t"},
		"two documents":      {body: good + good},
		"half a document":    {body: good[:len(good)/2]},
		"not JSON":           {body: "apiVersion: v1"},
		"null":               {body: "null"},
		"wrong content type": {body: good, headers: []string{"Content-Type", "application/yaml"}},
		"gzip":               {body: zipped.String(), headers: []string{"Content-Encoding", "gzip"}},
		"10 MiB":             {body: strings.Replace(good, `"uid"`, `"padding":"`+strings.Repeat("x", 10<<20)+`","uid"`, 1)},
		"deep nesting":       {body: strings.Replace(good, `"dryRun"`, `"options":`+nested+`,"dryRun"`, 1)},
		"deep in the pod":    {body: string(review([]byte(nested)))},
		"missing UID":        {body: strings.Replace(good, `"uid":"u",`, "", 1)},
		"no request":         {body: `{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}`},
		"no pod":             {body: string(review([]byte("null")))},
		"name given twice":   {body: strings.Replace(good, `"uid":"u",`, `"uid":"u","uid":"v",`, 1)},
	} {
		status, text := c.post(t, []byte(bad.body), bad.headers...)
		if status < 400 || status > 499 || len(text) > 1000 || bytes.Count(text, []byte("\n")) != 1 || !bytes.HasPrefix(text, []byte("PIL090")) {
			t.Errorf("%s: HTTP %d %q", name, status, text)
		}
	}
	if status, text := c.post(t, []byte(good)); status != http.StatusOK {
		t.Errorf("afterwards a good review gets HTTP %d %s", status, text)
	}
}

// future is what fields that are newer than this program hold: values that do not
// survive being read into something and written again.
const future = `{"number":12345678901234567890.1250,"list":["<&>\u2028",null,true,{}],"":""}`

// TestFutureFields: "unknown future Pod fields survive untouched": one in every struct
// of the pod. kube-apiserver drops fields that it does not know, so the running
// webhook is asked as a newer kube-apiserver would.
func TestFutureFields(t *testing.T) {
	installed := install(t, nil)
	c := newCaller(t, installed)
	g := newPodGenerator(1)
	injected := 0
	for n := range 100 {
		var pod object
		decode(t, asJSON(t, g.pod(n)), &pod)
		put := addFuture("", pod)
		raw := asJSON(t, pod)
		status, text := c.post(t, review(raw))
		var answer admissionreviewv1.AdmissionReview
		decode(t, text, &answer)
		if status != http.StatusOK || !answer.Response.Allowed || len(answer.Response.Patch) == 0 {
			continue // refused or skipped
		}
		injected++
		patch, err := jsonpatch.DecodePatch(answer.Response.Patch)
		if err != nil {
			t.Fatal(err)
		}
		after, err := patch.Apply(raw)
		if err != nil {
			t.Fatal(err)
		}
		if kept := bytes.Count(after, compact(t, future)); kept != put {
			t.Errorf("of %d unknown fields, %d survive byte for byte: %s", put, kept, after)
		}
		var want, got object
		decode(t, raw, &want)
		decode(t, after, &got)
		marked, err := injector.ParseStatus(child(got, "metadata", "annotations")[injector.StatusAnnotation].(string))
		if err != nil {
			t.Fatal(err)
		}
		undo(t, got, marked)
		checkSame(t, want, got)
	}
	if injected < 30 {
		t.Errorf("only %d pods were injected", injected)
	}
}

func compact(t *testing.T, text string) []byte {
	t.Helper()
	return asJSON(t, json.RawMessage(text))
}

// addFuture puts a field into every struct, and counts them. Maps of strings and of
// quantities are no structs.
func addFuture(name string, value any) (put int) {
	switch value := value.(type) {
	case object:
		for key, inner := range value {
			put += addFuture(key, inner)
		}
		switch name {
		case "labels", "annotations", "nodeSelector", "requests", "limits", "matchLabels":
			return put
		}
		value["fieldFromTheFuture"] = json.RawMessage(future)
		return put + 1
	case []any:
		for _, inner := range value {
			put += addFuture(name, inner)
		}
	}
	return put
}
