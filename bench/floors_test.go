package bench

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"gomodules.xyz/jsonpatch/v2"
	admissionv1 "k8s.io/api/admission/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/webhook/admission"
)

// floor is a handler as thin as one can be that does one thing less well or less
// cheaply than ours: what it needs for a case, it has prepared.
type floor struct {
	name    string
	prepare func(testing.TB, *reviewCase) answerFunc
}

// answerFunc makes the body of a response from that of a request.
type answerFunc func(body []byte) ([]byte, error)

func floors() []floor {
	return []floor{
		{"constant", constantFloor},
		{"scan", scanFloor},
		{"partial", partialFloor},
		{"fullpod", fullPodFloor},
		{"diff", diffFloor},
	}
}

// ServeHTTP implements http.Handler.
func (f answerFunc) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err == nil {
		body, err = f(body)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	_, _ = w.Write(body)
}

// constantFloor reads the body and answers always the same.
func constantFloor(tb testing.TB, c *reviewCase) answerFunc {
	tb.Helper()
	answer, err := answerWith(c.uid, nil)
	if err != nil {
		tb.Fatal(err)
	}
	return func([]byte) ([]byte, error) { return answer, nil }
}

// scanFloor looks at every byte once and decides nothing: a bound, not a design.
func scanFloor(_ testing.TB, c *reviewCase) answerFunc {
	uid := []byte(`"uid":"` + c.uid + `"`)
	return func(body []byte) ([]byte, error) {
		scan := jsontext.NewDecoder(bytes.NewBuffer(body), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
		if err := scan.SkipValue(); err != nil {
			return nil, err
		}
		if !bytes.Contains(body, uid) {
			return nil, fmt.Errorf("there is no uid %s", c.uid)
		}
		return answerWith(c.uid, bytes.Clone(c.patch))
	}
}

// fewFields are what a simple injector decides on.
type fewFields struct {
	Request struct {
		UID       string `json:"uid"`
		Namespace string `json:"namespace"`
		Operation string `json:"operation"`
		Object    struct {
			Metadata struct {
				Labels      map[string]string `json:"labels"`
				Annotations map[string]string `json:"annotations"`
			} `json:"metadata"`
			Spec struct {
				HostNetwork    bool        `json:"hostNetwork"`
				Containers     []fewInside `json:"containers"`
				InitContainers []fewInside `json:"initContainers"`
				Volumes        []struct {
					Name string `json:"name"`
				} `json:"volumes"`
			} `json:"spec"`
		} `json:"object"`
	} `json:"request"`
}

type fewInside struct {
	Name  string `json:"name"`
	Ports []struct {
		ContainerPort int32 `json:"containerPort"`
	} `json:"ports"`
}

// partialFloor decodes only a few fields, and has the patch ready.
func partialFloor(_ testing.TB, c *reviewCase) answerFunc {
	return func(body []byte) ([]byte, error) {
		var review fewFields
		if err := json.Unmarshal(body, &review); err != nil {
			return nil, err
		}
		return answerWith(review.Request.UID, bytes.Clone(c.patch))
	}
}

// fullPodFloor decodes the whole pod, and has the patch ready.
func fullPodFloor(_ testing.TB, c *reviewCase) answerFunc {
	return func(body []byte) ([]byte, error) {
		uid, _, _, err := decodeWhole(body)
		if err != nil {
			return nil, err
		}
		return answerWith(uid, bytes.Clone(c.patch))
	}
}

func decodeWhole(body []byte) (uid string, raw []byte, pod *corev1.Pod, err error) {
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(body, &review); err != nil {
		return "", nil, nil, err
	}
	pod = &corev1.Pod{}
	err = json.Unmarshal(review.Request.Object.Raw, pod)
	return string(review.Request.UID), review.Request.Object.Raw, pod, err
}

// diffFloor is what controller-runtime's examples do: decode the pod, change it,
// encode it, and look for the difference.
func diffFloor(tb testing.TB, c *reviewCase) answerFunc {
	tb.Helper()
	var after corev1.Pod
	if err := json.Unmarshal(c.patched(tb), &after); err != nil {
		tb.Fatal(err)
	}
	return func(body []byte) ([]byte, error) {
		uid, raw, pod, err := decodeWhole(body)
		if err != nil {
			return nil, err
		}
		pod.Annotations, pod.Spec = after.Annotations, after.Spec
		encoded, err := json.Marshal(pod)
		if err != nil {
			return nil, err
		}
		response := admission.PatchResponseFromRaw(raw, encoded)
		if !response.Allowed {
			return nil, fmt.Errorf("looking for the difference: %s", response.Result.Message)
		}
		patch, err := patchJSON(response.Patches)
		if err != nil {
			return nil, err
		}
		return answerWith(uid, patch)
	}
}

func patchJSON(operations []jsonpatch.Operation) ([]byte, error) {
	if len(operations) == 0 {
		return nil, nil
	}
	return json.Marshal(operations)
}

func answerWith(uid string, patch []byte) ([]byte, error) {
	response := &admissionv1.AdmissionResponse{UID: types.UID(uid), Allowed: true}
	if patch != nil {
		response.Patch, response.PatchType = patch, new(admissionv1.PatchTypeJSONPatch)
	}
	answer := admissionv1.AdmissionReview{Response: response}
	answer.APIVersion, answer.Kind = "admission.k8s.io/v1", "AdmissionReview"
	return json.Marshal(&answer)
}
