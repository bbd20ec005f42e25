package e2e

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"

	admissionreviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/injector"
)

// otherDone is the annotation of a pod that the other webhook has worked on.
const otherDone = "other.example.com/done"

// otherPatch is what the other webhook does to a pod: a container with a probe, an
// init container in front, a volume, an annotation, and a shorter grace period.
const otherPatch = `[
	{"op":"add","path":"/spec/containers/0","value":{"name":"other","image":"other","livenessProbe":{"tcpSocket":{"port":9999}}}},
	{"op":"add","path":"/spec/initContainers/0","value":{"name":"other-init","image":"other"}},
	{"op":"add","path":"/spec/volumes/0","value":{"name":"other","emptyDir":{}}},
	{"op":"add","path":"/metadata/annotations/other.example.com~1done","value":"yes"},
	{"op":"add","path":"/spec/terminationGracePeriodSeconds","value":5}]`

// quietPatch gives the sidecar nothing more to do, and yet puts containers before it.
const quietPatch = `[
	{"op":"add","path":"/spec/containers/0","value":{"name":"other","image":"other","lifecycle":{"preStop":{"sleep":{"seconds":1}}}}},
	{"op":"add","path":"/spec/initContainers/0","value":{"name":"other-init","image":"other"}},
	{"op":"add","path":"/metadata/annotations/other.example.com~1done","value":"yes"}]`

// other answers as a webhook with the JSON patch that it has for a pod, empty for none.
type other func(*corev1.Pod) []byte

// once has the same patch for each pod, one time.
func once(patch string) other {
	return func(pod *corev1.Pod) []byte {
		if pod.Annotations[otherDone] != "" {
			return nil
		}
		return []byte(patch)
	}
}

// ServeHTTP implements http.Handler.
func (o other) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var review admissionreviewv1.AdmissionReview
	var pod corev1.Pod
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil || json.Unmarshal(review.Request.Object.Raw, &pod) != nil {
		http.Error(w, "not a review of a pod", http.StatusBadRequest)
		return
	}
	review.Response = &admissionreviewv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	if patch := o(&pod); len(patch) > 0 {
		review.Response.Patch, review.Response.PatchType = patch, new(admissionreviewv1.PatchTypeJSONPatch)
	}
	review.Request = nil
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(&review); err != nil {
		panic(http.ErrAbortHandler) // which the client sees
	}
}

// installOther registers the other webhook under a name, for namespaces with a label
// of that name. kube-apiserver calls webhook configurations in the order of their names.
func installOther(t *testing.T, name, patch string) {
	t.Helper()
	t.Cleanup(registerOther(t, name, map[string]string{"other": name}, once(patch)))
}

// registerOther starts and registers a webhook for namespaces with these labels, and
// returns what takes it away.
func registerOther(t *testing.T, name string, namespaces map[string]string, answers other) (undo func()) {
	t.Helper()
	server := httptest.NewTLSServer(answers)
	c := apiServer(t)
	configuration := &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Webhooks: []admissionv1.MutatingWebhook{{
			Name: "pods." + name + ".example.com", AdmissionReviewVersions: []string{"v1"},
			SideEffects: new(admissionv1.SideEffectClassNone), FailurePolicy: new(admissionv1.Fail), ReinvocationPolicy: new(admissionv1.IfNeededReinvocationPolicy),
			ClientConfig: admissionv1.WebhookClientConfig{
				URL: &server.URL, CABundle: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw}),
			},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: namespaces},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
		}},
	}
	if err := c.Create(t.Context(), configuration); err != nil {
		t.Fatal(err)
	}
	return func() {
		defer server.Close()
		// At the end of a test its own context is over.
		if err := c.Delete(context.WithoutCancel(t.Context()), configuration); err != nil {
			t.Error(err)
		}
	}
}

// TestOtherWebhooks: "other webhooks before/after (adds containers, init): reinvocation
// converges; our redirect stays last/first as specified". Whichever comes first,
// native mode has pillion-init and envoy in front, classic mode envoy in front and
// pillion-init last; the other's container is cared for as the app's.
func TestOtherWebhooks(t *testing.T) {
	install(t, nil)
	for name, patch := range map[string]string{"before": otherPatch, "the-one-after": otherPatch, "before-and-quiet": quietPatch, "the-quiet-one-after": quietPatch} {
		installOther(t, name, patch)
		w := newTwins(t, map[string]string{"other": name})
		for _, mode := range modes() {
			t.Run(name+"/"+mode, func(t *testing.T) {
				pod := appPod("crowded")
				pod.Annotations = map[string]string{"pillion.dev/mode": mode}
				pod.Spec.InitContainers = []corev1.Container{{Name: "migrate", Image: "migrate"}}
				pod.Spec.Volumes = []corev1.Volume{{Name: "data"}}
				eventually(t, "kube-apiserver calls the other webhook", func() bool {
					plain, err := w.createIn(t, w.plain, pod)
					return err == nil && plain.Annotations[otherDone] == "yes"
				})
				meshed, status := w.create(t, pod)
				checkCrowded(t, meshed, mode, status)
			})
		}
	}
}

func checkCrowded(t *testing.T, pod *corev1.Pod, mode string, status injector.Status) {
	t.Helper()
	inits, containers := []string{"pillion-init", "envoy", "other-init", "migrate"}, []string{"other", "app"}
	if mode == "classic" {
		inits, containers = []string{"other-init", "migrate", "pillion-init"}, []string{"envoy", "other", "app"}
	}
	if got := names(pod.Spec.InitContainers); !slices.Equal(got, inits) {
		t.Errorf("the init containers are %q, want %q", got, inits)
	}
	if got := names(pod.Spec.Containers); !slices.Equal(got, containers) {
		t.Errorf("the containers are %q, want %q", got, containers)
	}
	if probe := container(t, pod, "other").LivenessProbe; probe != nil {
		port, ports := probe.TCPSocket.Port.IntValue(), argumentOf(t, pod, "--probe-ports=")
		if port < 15040 || !strings.Contains(ports, strconv.Itoa(port)+":9999") {
			t.Errorf("the other's probe goes to %d, and the redirect knows %s", port, ports)
		}
	}
	sleep := int64(0)
	for _, name := range []string{"other", "app"} {
		hooks := container(t, pod, name).Lifecycle
		if hooks == nil || hooks.PreStop == nil || hooks.PreStop.Sleep == nil {
			t.Errorf("container %s has no preStop hook", name)
			continue
		}
		sleep = max(sleep, hooks.PreStop.Sleep.Seconds)
	}
	if *pod.Spec.TerminationGracePeriodSeconds <= sleep {
		t.Errorf("the grace period of %d does not hold a sleep of %d", *pod.Spec.TerminationGracePeriodSeconds, sleep)
	}
	if status.Mode != mode {
		t.Errorf("the status says mode %s", status.Mode)
	}
}

// TestLimitRangeWithOtherWebhook: "(LimitRange)". kube-apiserver gives its defaults
// to the pod before, between and after both webhooks.
func TestLimitRangeWithOtherWebhook(t *testing.T) {
	install(t, nil)
	installOther(t, "z-other", otherPatch)
	w := newTwins(t, map[string]string{"other": "z-other"})
	w.limit(t, corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Default: quantities("500m", "256Mi"), DefaultRequest: quantities("50m", "64Mi")})
	pod := appPod("limited")
	pod.Spec.InitContainers = []corev1.Container{{Name: "migrate", Image: "migrate"}}
	pod.Spec.Volumes = []corev1.Volume{{Name: "data"}}
	pod.Annotations = map[string]string{"example.com/note": "n"}
	eventually(t, "kube-apiserver calls the other webhook", func() bool {
		plain, err := w.createIn(t, w.plain, pod)
		return err == nil && plain.Annotations[otherDone] == "yes"
	})
	meshed, status := w.create(t, pod)
	for _, c := range slices.Concat(meshed.Spec.InitContainers, meshed.Spec.Containers) {
		if c.Resources.Limits.Memory().IsZero() || c.Resources.Requests.Cpu().IsZero() {
			t.Errorf("container %s has resources %+v", c.Name, c.Resources)
		}
	}
	checkCrowded(t, meshed, "native", status)
}
