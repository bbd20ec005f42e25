package webhook

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// meshServiceReview is an AdmissionReview about a MeshService that was made, with a
// spec.
func meshServiceReview(spec string) string {
	return workloadReview(reviewGVK{"pillion.dev", "v1alpha1", "MeshService"},
		`{"apiVersion":"pillion.dev/v1alpha1","kind":"MeshService","metadata":{"name":"web","namespace":"shop","uid":"u","generation":1,"managedFields":[{"manager":"kubectl"}]},"spec":`+spec+`}`)
}

// newMeshHandler has no configuration: none is needed.
func newMeshHandler() (*Handler, *logLines) { return newTestHandler(nil) }

func TestMeshServiceIsAccepted(t *testing.T) {
	for _, operation := range []string{"CREATE", "UPDATE"} {
		h, lines := newMeshHandler()
		body := strings.Replace(meshServiceReview(`{"inbound":[{"port":8080}]}`), "CREATE", operation, 1)
		response := responseOf(t, postTo(h, "/validate-meshservice", body))
		if !response.Allowed || response.Result != nil || len(response.Warnings) > 0 || response.Patch != nil {
			t.Errorf("%s: got %+v", operation, response)
		}
		if got := value(t, h.metrics.meshServices.WithLabelValues(meshAccepted)); got != 1 {
			t.Errorf("%s: %v counted", operation, got)
		}
		if lines.String() != "" {
			t.Errorf("%s: logged %s", operation, lines)
		}
	}
}

func TestMeshServiceIsWarnedAbout(t *testing.T) {
	h, lines := newMeshHandler()
	response := responseOf(t, postTo(h, "/validate-meshservice", meshServiceReview(
		`{"egress":[{"name":"a","host":"a.example.com","port":80,"timeout":"5s","clientTimeout":"10s"}]}`)))
	want := []string{"spec.egress[0].clientTimeout: 10s is longer than timeout, 5s: after 5s the app gets a 504 from the sidecar, not its own deadline"}
	if diff := cmp.Diff(want, response.Warnings); diff != "" || !response.Allowed {
		t.Errorf("allowed: %t (-want +got):\n%s", response.Allowed, diff)
	}
	if got := value(t, h.metrics.meshServices.WithLabelValues(meshWarned)); got != 1 {
		t.Errorf("%v counted", got)
	}
	for _, want := range []string{`"msg":"meshservice review"`, `"outcome":"warned"`, `"namespace":"shop"`, `"name":"web"`, `"warnings":1`} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("no %s in %s", want, lines)
		}
	}
}

func TestMeshServiceIsRefused(t *testing.T) {
	h, _ := newMeshHandler()
	response := responseOf(t, postTo(h, "/validate-meshservice", meshServiceReview(
		`{"egress":[{"name":"a","service":{"name":"a"},"port":80},{"name":"b","host":"a.shop.svc","port":80}]}`)))
	const sentence = `Invalid value: 80: a.shop.svc:80 is what spec.egress[0] (a) is, too: put both into one entry`
	want := &metav1.Status{
		Status: "Failure", Reason: "Invalid", Code: 422, Message: "spec.egress[1].port: " + sentence,
		Details: &metav1.StatusDetails{Name: "web", Kind: "meshservices", Causes: []metav1.StatusCause{{Type: "FieldValueInvalid", Field: "spec.egress[1].port", Message: sentence}}},
	}
	if diff := cmp.Diff(want, response.Result); diff != "" || response.Allowed {
		t.Errorf("allowed: %t (-want +got):\n%s", response.Allowed, diff)
	}
	if got := value(t, h.metrics.meshServices.WithLabelValues(meshRefused)); got != 1 {
		t.Errorf("%v counted", got)
	}
}

// A document of many mistakes is answered with the first ones and the number of others.
func TestMeshServiceRefusalIsBounded(t *testing.T) {
	h, _ := newMeshHandler()
	ports := make([]string, 60)
	for n := range ports {
		ports[n] = fmt.Sprintf(`{"port":%d}`, 15000+n)
	}
	response := responseOf(t, postTo(h, "/validate-meshservice", meshServiceReview(`{"inbound":[`+strings.Join(ports, ",")+`]}`)))
	if response.Allowed || len(response.Result.Details.Causes) != maxCauses || !strings.HasSuffix(response.Result.Message, "; and 40 more") {
		t.Errorf("got %+v", response.Result)
	}
}

// What is no MeshService that was made or changed is allowed without a word.
func TestOtherThanMeshServicesAreAllowed(t *testing.T) {
	bad := meshServiceReview(`{"inbound":[{"port":15000}]}`)
	for name, body := range map[string]string{
		"delete":          strings.Replace(strings.Replace(bad, "CREATE", "DELETE", 1), `"object":{`, `"object":null,"oldObject2":{`, 1),
		"status":          strings.Replace(bad, `"operation"`, `"subResource":"status","operation"`, 1),
		"another version": strings.Replace(bad, `"version":"v1alpha1"`, `"version":"v1"`, 1),
		"a Deployment":    deploymentReview(workloadOf("Deployment")),
		"a pod":           reviewOf(testPod),
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := newMeshHandler()
			if response := responseOf(t, postTo(h, "/validate-meshservice", body)); !response.Allowed || len(response.Warnings) > 0 {
				t.Errorf("got %+v", response)
			}
			if got := value(t, h.metrics.meshServices.WithLabelValues(meshOther)); got != 1 {
				t.Errorf("%v counted", got)
			}
		})
	}
}

// What cannot be answered is an HTTP error, so that failurePolicy decides.
func TestMeshServiceReviewThatCannotBeAnswered(t *testing.T) {
	full, _ := newMeshHandler()
	full.inFlight.Store(full.maxInFlight)
	fine, _ := newMeshHandler()
	for name, c := range map[string]struct {
		handler *Handler
		body    string
		status  int
		says    string
	}{
		"overload":  {full, meshServiceReview("{}"), 503, "PIL091 Overload"},
		"no object": {fine, workloadReview(reviewGVK{"pillion.dev", "v1alpha1", "MeshService"}, "null"), 400, "request.object is missing, in the CREATE of a MeshService"},
		"empty":     {fine, "", 400, "PIL090 BadReview: the body is empty"},
		"too large": {fine, strings.Repeat(" ", maxBody+1), 413, "PIL090"},
	} {
		w := postTo(c.handler, "/validate-meshservice", c.body)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
			t.Errorf("%s: got HTTP %d %q, want %d that says %q", name, w.Code, w.Body, c.status, c.says)
		}
	}
}

// Whatever comes is a decision or an error, and the process lives.
func FuzzMeshServiceReview(f *testing.F) {
	f.Add([]byte(meshServiceReview(`{"inbound":[{"port":8080,"adaptiveConcurrency":{}}]}`)))
	f.Add([]byte(meshServiceReview(`{"egress":[{"name":"a","host":"a","port":80,"routes":[{"to":"b","headers":[{"name":"x","value":"v"}]}]}]}`)))
	f.Add([]byte(meshServiceReview(`[]`)))
	f.Add([]byte(deploymentReview("null")))
	h, _ := newMeshHandler()
	f.Fuzz(func(t *testing.T, body []byte) {
		w := postTo(h, "/validate-meshservice", string(body))
		if w.Code >= http.StatusInternalServerError {
			t.Fatalf("HTTP %d: %s", w.Code, w.Body)
		}
		if w.Code == http.StatusOK && bytes.Contains(w.Body.Bytes(), []byte(`"allowed":true`)) == bytes.Contains(w.Body.Bytes(), []byte(`"code":422`)) {
			t.Fatalf("neither allowed nor refused: %s", w.Body)
		}
	})
}
