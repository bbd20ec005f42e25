package bench

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admission/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// size of a generated pod: how much of everything that makes pods long.
type size struct {
	containers, inits, env, volumes, annotations int
	// shape is for what is not a matter of size.
	shape func(*corev1.Pod)
}

func sizes() map[string]size {
	return map[string]size{
		"minimal":         {containers: 1},
		"service":         {containers: 1, env: 18, volumes: 3, annotations: 6},
		"five-containers": {containers: 5, env: 8, volumes: 4, annotations: 6},
		"job":             {containers: 1, env: 12, volumes: 1, annotations: 2, shape: asJob},
		"big":             {containers: 4, inits: 2, env: 26, volumes: 10, annotations: 30},
		"opt-out":         {containers: 1, env: 18, volumes: 3, annotations: 6, shape: asOptOut},
	}
}

func asJob(pod *corev1.Pod) {
	pod.Spec.RestartPolicy = corev1.RestartPolicyNever
	pod.OwnerReferences[0].Kind, pod.OwnerReferences[0].APIVersion = "Job", "batch/v1"
	pod.Spec.Containers[0].LivenessProbe, pod.Spec.Containers[0].ReadinessProbe = nil, nil
}

func asOptOut(pod *corev1.Pod) { pod.Labels["service-mesh-enabled"] = "false" }

// TestCorpusIsCurrent holds the generated reviews; with -update it writes them.
func TestCorpusIsCurrent(t *testing.T) {
	for name, s := range sizes() {
		path := filepath.Join("testdata", name+".json")
		want := encode(t, reviewOf(t, podOf(s)))
		if *update {
			if err := os.WriteFile(path, want, 0o600); err != nil {
				t.Fatal(err)
			}
		}
		got, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is not what the generator writes; run go test ./bench -run TestCorpusIsCurrent -update:\n%s", path, diff)
		}
	}
}

var update = flag.Bool("update", false, "write testdata anew")

func encode(tb testing.TB, value any) []byte {
	tb.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		tb.Fatal(err)
	}
	return encoded
}

// reviewOf is what kube-apiserver sends when a controller creates the pod.
func reviewOf(t *testing.T, pod *corev1.Pod) *admissionv1.AdmissionReview {
	t.Helper()
	pod.ManagedFields = []metav1.ManagedFieldsEntry{{
		Manager: "kube-controller-manager", Operation: metav1.ManagedFieldsOperationUpdate, APIVersion: "v1",
		Time: &metav1.Time{}, FieldsType: "FieldsV1", FieldsV1: metav1.NewFieldsV1(string(encode(t, map[string]any{
			"f:metadata": fieldsOf(t, pod.ObjectMeta), "f:spec": fieldsOf(t, pod.Spec),
		}))),
	}}
	pods := metav1.GroupVersionResource{Version: "v1", Resource: "pods"}
	kind := metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}
	return &admissionv1.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admissionv1.AdmissionRequest{
			UID: "5f0d6a3c-3d5c-4f0e-9d3e-0a3f6f0e8a11", Kind: kind, Resource: pods, RequestKind: &kind, RequestResource: &pods,
			Namespace: pod.Namespace, Operation: admissionv1.Create,
			UserInfo: authenticationv1.UserInfo{
				Username: "system:serviceaccount:kube-system:replicaset-controller", UID: "b7c1d6c1-0f53-4d1c-8a52-1b1b5b0a7d0e",
				Groups: []string{"system:serviceaccounts", "system:serviceaccounts:kube-system", "system:authenticated"},
			},
			Object: runtime.RawExtension{Raw: encode(t, pod)}, DryRun: new(false),
			Options: runtime.RawExtension{Raw: []byte(`{"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"}`)},
		},
	}
}

// fieldsOf is the set of a value's fields, as managed fields name them.
func fieldsOf(t *testing.T, value any) any {
	t.Helper()
	var decoded any
	if err := json.Unmarshal(encode(t, value), &decoded); err != nil {
		t.Fatal(err)
	}
	return fieldSet(decoded)
}

func fieldSet(value any) map[string]any {
	set := map[string]any{}
	switch value := value.(type) {
	case map[string]any:
		set["."] = map[string]any{}
		for name, member := range value {
			set["f:"+name] = fieldSet(member)
		}
	case []any:
		for _, element := range value {
			object, ok := element.(map[string]any)
			if !ok {
				continue
			}
			for _, key := range []string{"name", "mountPath", "containerPort", "uid"} {
				if of, ok := object[key]; ok {
					set[fmt.Sprintf("k:{%q:%q}", key, fmt.Sprint(of))] = fieldSet(object)
					break
				}
			}
		}
	}
	return set
}

// words fill texts: a value of n of them is as long as values in pods are.
func words(n int) string { return strings.TrimSpace(strings.Repeat("inventory ", n)) }
