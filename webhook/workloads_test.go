package webhook

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/pillion-mesh/pillion/injector"
)

const (
	testTemplate = `{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"app","image":"app:1"}]}}`
	// testLabels are the opt-in in the wrong place.
	testLabels = `"metadata":{"name":"web","namespace":"shop","labels":{"service-mesh-enabled":"true"}}`
)

// workloadOf is an object of a kind, as kube-apiserver sends it.
func workloadOf(kind string) string {
	spec := `{"template":` + testTemplate + `,"newer":[1,{}]}`
	if kind == "CronJob" {
		spec = `{"schedule":"@daily","jobTemplate":{"spec":` + spec + `}}`
	}
	return `{"kind":"` + kind + `",` + testLabels + `,"spec":` + spec + `,"status":{}}`
}

// workloadReview is an AdmissionReview about a workload that was made.
func workloadReview(kind reviewGVK, object string) string {
	return fmt.Sprintf(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":%q,`+
		`"kind":{"group":%q,"version":%q,"kind":%q},"namespace":"shop","name":"web","operation":"CREATE","object":%s,"oldObject":null,"dryRun":false}}`,
		testUID, kind.Group, kind.Version, kind.Kind, object)
}

func deploymentReview(object string) string {
	return workloadReview(reviewGVK{"apps", "v1", "Deployment"}, object)
}

// newReviewHandler answers about workloads by review.
func newReviewHandler(review func(*injector.Workload) []injector.Warning) (*Handler, *logLines) {
	h, lines := newTestHandler(nil)
	h.configuration.current.Store(&loaded{review: review, hash: "test"})
	return h, lines
}

func warned() []injector.Warning {
	return []injector.Warning{{Reason: injector.ReasonLabelMisplaced, Message: "look"}}
}

// postWorkload sends a review of a workload.
func postWorkload(h http.Handler, body string) *httptest.ResponseRecorder {
	return postTo(h, "/validate-workload", body)
}

func TestWorkloadOfEachKindIsReviewed(t *testing.T) {
	for _, kind := range workloadKinds() {
		for _, operation := range []string{"CREATE", "UPDATE"} {
			t.Run(kind.Kind+"/"+operation, func(t *testing.T) {
				var asked injector.Workload
				h, _ := newReviewHandler(func(w *injector.Workload) []injector.Warning {
					asked = *w
					return warned()
				})
				body := strings.Replace(workloadReview(kind, workloadOf(kind.Kind)), `"CREATE"`, `"`+operation+`"`, 1)
				response := responseOf(t, postWorkload(h, body))
				if !response.Allowed || response.Patch != nil || response.PatchType != nil || response.Result != nil {
					t.Errorf("got %+v", response)
				}
				if diff := cmp.Diff([]string{"PIL063: look"}, response.Warnings); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
				path := "spec.template"
				if kind.Kind == "CronJob" {
					path = "spec.jobTemplate.spec.template"
				}
				if asked.Kind != kind.Kind || asked.Name != "web" || asked.Path != path || asked.Namespace.Name != "shop" || asked.Now.IsZero() {
					t.Errorf("asked about %+v", asked)
				}
				if asked.Labels["service-mesh-enabled"] != "true" || asked.Template.Metadata.Labels["app"] != "web" {
					t.Errorf("asked about labels %v and template %+v", asked.Labels, asked.Template)
				}
				if got := value(t, h.metrics.workloads.WithLabelValues(kind.Kind)); got != 1 {
					t.Errorf("%v reviews counted", got)
				}
			})
		}
	}
}

// The webhook says what the injector does, with a configuration as it is loaded.
func TestWorkloadIsReviewedByTheInjector(t *testing.T) {
	h, _ := newTestHandler(nil)
	if err := h.configuration.Load([]byte(minimalConfig)); err != nil {
		t.Fatal(err)
	}
	got := responseOf(t, postWorkload(h, deploymentReview(workloadOf("Deployment")))).Warnings
	want := []string{"PIL063: Deployment web: label service-mesh-enabled is in metadata.labels of the Deployment, where it has no effect; move it to spec.template.metadata.labels"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// A workload whose name kube-apiserver is yet to make is named by its start.
func TestWorkloadWithoutANameIsNamed(t *testing.T) {
	var asked string
	h, _ := newReviewHandler(func(w *injector.Workload) []injector.Warning {
		asked = w.Name
		return nil
	})
	body := strings.NewReplacer(`"name":"web","namespace"`, `"generateName":"web-","namespace"`, `"namespace":"shop","name":"web"`, `"namespace":"shop"`).
		Replace(deploymentReview(workloadOf("Deployment")))
	if responseOf(t, postWorkload(h, body)); asked != "web-" {
		t.Errorf("asked about %q", asked)
	}
}

// What is no workload that was made or changed is allowed without a word, whatever
// its object looks like.
func TestOtherObjectsAreAllowed(t *testing.T) {
	good := deploymentReview(workloadOf("Deployment"))
	change := func(pairs ...string) string { return strings.NewReplacer(pairs...).Replace(good) }
	for name, body := range map[string]string{
		"delete":           strings.Replace(deploymentReview("null"), "CREATE", "DELETE", 1),
		"connect":          change("CREATE", "CONNECT"),
		"scale":            change(`"operation"`, `"subResource":"scale","operation"`),
		"another group":    change(`"group":"apps"`, `"group":"example.com"`),
		"another version":  change(`"version":"v1"`, `"version":"v2"`),
		"a pod":            reviewOf(testPod),
		"of another shape": workloadReview(reviewGVK{"example.com", "v1", "Deployment"}, `{"metadata":[],"spec":{"template":"round"}}`),
		"no object at all": workloadReview(reviewGVK{"example.com", "v1", "Deployment"}, `null`),
	} {
		t.Run(name, func(t *testing.T) {
			h, _ := newReviewHandler(func(*injector.Workload) []injector.Warning { panic("asked") })
			response := responseOf(t, postWorkload(h, body))
			if !response.Allowed || len(response.Warnings) > 0 {
				t.Errorf("got %+v", response)
			}
			if got := value(t, h.metrics.workloads.WithLabelValues(otherKind)); got != 1 {
				t.Errorf("%v of another kind counted", got)
			}
		})
	}
}

// A workload without a template, as of a kind that is yet to come, is allowed.
func TestWorkloadWithoutATemplateIsAllowed(t *testing.T) {
	h, _ := newReviewHandler(func(*injector.Workload) []injector.Warning { panic("asked") })
	for _, object := range []string{`{}`, `{"spec":null}`, `{"spec":{"template":null}}`} {
		if response := responseOf(t, postWorkload(h, deploymentReview(object))); !response.Allowed || len(response.Warnings) > 0 {
			t.Errorf("%s: got %+v", object, response)
		}
	}
}

// What cannot be answered is an HTTP error, so that failurePolicy decides: never
// `allowed: false`.
func TestWorkloadIsNeverDenied(t *testing.T) {
	good := deploymentReview(workloadOf("Deployment"))
	panics, _ := newReviewHandler(func(*injector.Workload) []injector.Warning { panic("a bug") })
	unconfigured, _ := newTestHandler(nil)
	full, _ := newReviewHandler(func(*injector.Workload) []injector.Warning { return nil })
	full.inFlight.Store(full.maxInFlight)
	fine, _ := newReviewHandler(func(*injector.Workload) []injector.Warning { return nil })
	for name, c := range map[string]struct {
		handler *Handler
		body    string
		status  int
		says    string
	}{
		"panic":                {panics, good, 500, "PIL092 Internal: panic: a bug"},
		"no configuration":     {unconfigured, good, 503, "PIL094 NoConfig"},
		"overload":             {full, good, 503, "PIL091 Overload"},
		"empty":                {fine, "", 400, "PIL090 BadReview: the body is empty"},
		"no object":            {fine, deploymentReview("null"), 400, "request.object is missing, in the CREATE of a Deployment"},
		"object of a bad type": {fine, deploymentReview(`{"spec":{"template":{"spec":{"containers":"app"}}}}`), 400, "/request/object/spec/template/spec/containers"},
		"too large":            {fine, strings.Repeat(" ", maxBody+1), 413, "PIL090"},
	} {
		t.Run(name, func(t *testing.T) {
			const failures = "pillion_webhook_requests_failed_total"
			before := sum(t, c.handler.metrics.Registry, failures)
			w := postWorkload(c.handler, c.body)
			if w.Code != c.status || !strings.Contains(w.Body.String(), c.says) {
				t.Errorf("got HTTP %d %q, want %d that says %q", w.Code, w.Body, c.status, c.says)
			}
			if got := sum(t, c.handler.metrics.Registry, failures) - before; got != 1 {
				t.Errorf("%v failures counted", got)
			}
		})
	}
}

func TestWorkloadReviewIsCountedAndLogged(t *testing.T) {
	warnings := warned()
	h, lines := newReviewHandler(func(*injector.Workload) []injector.Warning { return warnings })
	before := seriesCount(t, h.metrics.Registry)
	body := deploymentReview(strings.Replace(workloadOf("Deployment"), "app:1", "secret:1", 1))
	postWorkload(h, body)
	for _, want := range []string{`"msg":"workload review"`, `"kind":"Deployment"`, `"namespace":"shop"`, `"name":"web"`, `"warnings":1`} {
		if !strings.Contains(lines.String(), want) {
			t.Errorf("no %s in %s", want, lines)
		}
	}
	warnings = nil
	postWorkload(h, body)
	if strings.Contains(lines.String(), "secret") || strings.Count(lines.String(), "\n") != 1 {
		t.Errorf("got %s", lines)
	}
	if after := seriesCount(t, h.metrics.Registry); after != before {
		t.Errorf("%d series became %d", before, after)
	}
	for metric, want := range map[prometheus.Counter]float64{
		h.metrics.workloads.WithLabelValues("Deployment"):    2,
		h.metrics.warnings.WithLabelValues("LabelMisplaced"): 1,
	} {
		if got := value(t, metric); got != want {
			t.Errorf("%s is %v, want %v", metric.Desc(), got, want)
		}
	}
	if got := sum(t, h.metrics.Registry, "pillion_webhook_admissions_total"); got != 0 {
		t.Errorf("%v pods counted", got)
	}
}

// Each path asks its own question, and there is no other.
func TestPaths(t *testing.T) {
	h, _ := newTestHandler(decided(injected()))
	h.configuration.current.Store(&loaded{inject: decided(injected()), review: func(*injector.Workload) []injector.Warning { return warned() }})
	if got := responseOf(t, postTo(h, "/mutate", deploymentReview(workloadOf("Deployment")))); len(got.Warnings) > 0 {
		t.Errorf("/mutate reviews workloads: %+v", got)
	}
	if got := responseOf(t, postTo(h, "/validate-workload", reviewOf(testPod))); len(got.Patch) > 0 {
		t.Errorf("/validate-workload patches pods: %+v", got)
	}
	for _, path := range []string{"/", "/mutate/x", "/validate-workloads"} {
		if w := postTo(h, path, reviewOf(testPod)); w.Code != http.StatusNotFound {
			t.Errorf("%s: HTTP %d %q", path, w.Code, w.Body)
		}
	}
}

// Whatever comes is allowed or an error, and the process lives.
func FuzzWorkloadReview(f *testing.F) {
	for _, kind := range workloadKinds() {
		f.Add([]byte(workloadReview(kind, workloadOf(kind.Kind))))
	}
	f.Add([]byte(deploymentReview("null")))
	f.Add([]byte(deploymentReview(`{"spec":{"template":{"metadata":{"annotations":{"pillion.dev/log-level":"loud"},"labels":{"service-mesh-enabled":"true"}}}}}`)))
	f.Add([]byte(reviewOf(testPod)))
	h, _ := newTestHandler(nil)
	if err := h.configuration.Load([]byte(minimalConfig)); err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		w := postWorkload(h, string(body))
		if w.Code >= http.StatusInternalServerError {
			t.Fatalf("HTTP %d: %s", w.Code, w.Body)
		}
		if w.Code == http.StatusOK && (!bytes.Contains(w.Body.Bytes(), []byte(`"allowed":true`)) || bytes.Contains(w.Body.Bytes(), []byte(`"patch"`))) {
			t.Fatalf("not just allowed: %s", w.Body)
		}
	})
}
