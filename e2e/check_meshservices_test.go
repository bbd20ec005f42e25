package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/preflight"
)

// meshServiceSays are the results of the checks of MeshServices that are not ok, as
// "id level", and what they say.
func meshServiceSays(t *testing.T, args ...string) (results []string, said string) {
	t.Helper()
	all, _ := check(t, args...)
	for _, c := range preflight.Checks() {
		if r, made := all[c.ID]; made && strings.HasPrefix(c.ID, "meshservice-") && r.Result != "ok" {
			results = append(results, c.ID+" "+r.Result)
			said += fmt.Sprint(r.Findings)
		}
	}
	return results, said
}

// writeMeshService makes one with a status, as the controller, which is not here, writes
// it: conditions are "Type=Status: message".
func writeMeshService(t *testing.T, c client.Client, namespace, name string, pods v1alpha1.MeshServicePods, conditions ...string) *unstructured.Unstructured {
	t.Helper()
	document := &unstructured.Unstructured{}
	document.SetGroupVersionKind(v1alpha1.GroupVersion().WithKind(v1alpha1.KindMeshService))
	document.SetNamespace(namespace)
	document.SetName(name)
	if err := c.Create(t.Context(), document); err != nil {
		t.Fatal(err)
	}
	status := v1alpha1.MeshServiceStatus{ObservedGeneration: document.GetGeneration(), Version: "v", Pods: pods}
	for _, text := range conditions {
		kind, rest, _ := strings.Cut(text, "=")
		value, message, _ := strings.Cut(rest, ": ")
		status.Conditions = append(status.Conditions, metav1.Condition{
			Type: kind, Status: metav1.ConditionStatus(value), Reason: "Reason", Message: message,
			ObservedGeneration: document.GetGeneration(), LastTransitionTime: metav1.Now(),
		})
	}
	if err := c.Status().Patch(t.Context(), document, client.RawPatch("application/merge-patch+json", asJSON(t, map[string]any{"status": status}))); err != nil {
		t.Fatal(err)
	}
	return document
}

// TestCheckMeshServices: what the controller and the pods say of a namespace's
// MeshServices, and what nobody else says: a name that no service has.
func TestCheckMeshServices(t *testing.T) {
	install(t, nil)
	c := apiServer(t)
	defineMeshServices(t, c)
	const accepted, rendered, applies = "Accepted=True: ", "Rendered=True: ", "Applied=True: "
	const older = "Applied=False: 4 of 4 pods run what was rendered before"
	four := v1alpha1.MeshServicePods{Total: 4, Current: 4}
	for name, test := range map[string]struct {
		service    string
		pods       v1alpha1.MeshServicePods
		conditions []string
		finds      []string
		says       string
	}{
		"all is well":    {"shop", four, []string{accepted, rendered, applies}, nil, ""},
		"not valid":      {"shop", four, []string{"Accepted=False: spec.egress[0].host is no host", "Rendered=False: the document is not valid", older}, []string{"meshservice-rendered problem"}, "MeshService shop is not accepted: spec.egress[0].host is no host"},
		"not rendered":   {"shop", four, []string{accepted, "Rendered=False: ConfigMap pillion-mesh-shop is somebody else's", older}, []string{"meshservice-rendered problem"}, "is not rendered (Reason): ConfigMap pillion-mesh-shop is somebody else's"},
		"rejected":       {"shop", v1alpha1.MeshServicePods{Total: 4, Current: 3, Rejected: 1}, []string{accepted, rendered, "Applied=False: pod web-1 rejected it"}, []string{"meshservice-applied problem"}, "is rejected by 1 of 4 pods: pod web-1 rejected it"},
		"underway":       {"shop", v1alpha1.MeshServicePods{Total: 4, Current: 1}, []string{accepted, rendered, "Applied=False: 3 have yet to take it"}, []string{"meshservice-applied notice"}, "is run by 1 of 4 pods: 3 have yet to take it"},
		"silent":         {"shop", v1alpha1.MeshServicePods{Total: 4, Unknown: 4}, []string{accepted, rendered, "Applied=Unknown: 4 did not say"}, []string{"meshservice-applied notice"}, "is run by 0 of 4 pods: 4 did not say"},
		"no pods yet":    {"shop", v1alpha1.MeshServicePods{}, []string{accepted, rendered, "Applied=Unknown: no running pod of the service has a sidecar"}, nil, ""},
		"not looked at":  {"shop", v1alpha1.MeshServicePods{}, nil, []string{"meshservice-rendered notice"}, "MeshService shop was not looked at by the controller"},
		"a name unknown": {"shpo", v1alpha1.MeshServicePods{}, []string{accepted, rendered, "Applied=Unknown: no running pod of the service has a sidecar"}, []string{"meshservice-matches notice"}, "MeshService shpo is for a service that no pods are of; the services of this namespace: shop"},
	} {
		t.Run(name, func(t *testing.T) {
			namespace := newNamespace(t, c, "documents-", map[string]string{optInLabel: "true"})
			if err := c.Create(t.Context(), checkedDeployment(namespace)); err != nil {
				t.Fatal(err)
			}
			document := writeMeshService(t, c, namespace, test.service, test.pods, test.conditions...)
			results, said := meshServiceSays(t, "-n", namespace)
			if !slices.Equal(results, test.finds) || !strings.Contains(said, test.says) {
				t.Errorf("it finds %q, want %q: %s", results, test.finds, said)
			}
			if name != "not valid" {
				return
			}
			// What was said of an older text is said of it no more.
			document.Object["spec"] = map[string]any{"undeclaredEgress": "Refused"}
			if err := c.Update(t.Context(), document); err != nil {
				t.Fatal(err)
			}
			results, said = meshServiceSays(t, "-n", namespace)
			if want := []string{"meshservice-rendered notice"}; !slices.Equal(results, want) {
				t.Errorf("after a change it finds %q, want %q: %s", results, want, said)
			}
		})
	}
}

// TestCheckMeshServicesMounted: pods that a MeshService cannot come to, since the
// configuration does not want it, or did not when they were made.
func TestCheckMeshServicesMounted(t *testing.T) {
	installed := install(t, map[string]any{"injector": map[string]any{"envoy": map[string]any{"meshService": "Off"}}})
	c := apiServer(t)
	defineMeshServices(t, c)
	namespace := newNamespace(t, c, "mounted-", map[string]string{optInLabel: "true"})
	deployment := checkedDeployment(namespace)
	if err := c.Create(t.Context(), deployment); err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{ObjectMeta: *deployment.Spec.Template.ObjectMeta.DeepCopy(), Spec: deployment.Spec.Template.Spec}
	pod.Namespace, pod.Name = namespace, "web-1"
	pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "web-x", UID: "x", Controller: new(true)}}
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	writeMeshService(t, c, namespace, "shop", v1alpha1.MeshServicePods{Total: 1, Current: 1}, "Accepted=True: ", "Rendered=True: ", "Applied=True: ")
	finds := func(when, want, words string) {
		t.Helper()
		results, said := meshServiceSays(t, "-n", namespace)
		if got := strings.Join(results, ", "); got != want || !strings.Contains(said, words) {
			t.Errorf("%s it finds %q, want %q: %s", when, got, want, said)
		}
	}
	finds("switched off,", "meshservice-mounted notice", "MeshService shop does not come to the pods of Deployment web, whose configuration has meshService: Off")
	key := client.ObjectKeyFromObject(installed.release.Object("ConfigMap"))
	change(t, c, &corev1.ConfigMap{}, key, func(m *corev1.ConfigMap) {
		before := m.Data["config.yaml"]
		if m.Data["config.yaml"] = strings.ReplaceAll(before, `meshService: "Off"`, "meshService: ConfigMap"); m.Data["config.yaml"] == before {
			t.Fatalf("nothing is switched off in %s", before)
		}
	})
	finds("switched on,", "meshservice-mounted problem", "MeshService shop does not come to pod web-1, which have no volume for it")
	deleteObject(t, c, pod)
	finds("without that pod,", "", "")
}

// TestCheckMeshServicesDefined: an API server that knows no MeshServices is told of, and
// nothing else is made of it.
func TestCheckMeshServicesDefined(t *testing.T) {
	install(t, nil)
	c := apiServer(t)
	defineMeshServices(t, c)
	defer defineMeshServices(t, c) // others count on it
	namespace := newNamespace(t, c, "undefined-", map[string]string{optInLabel: "true"})
	deleteObject(t, c, readObject(t, definitionFile))
	// kube-apiserver names them for a moment after they are gone.
	eventually(t, "no MeshServices are found to be known, and nothing else", func() bool {
		results, said := meshServiceSays(t, "-n", namespace)
		return slices.Equal(results, []string{"meshservice-defined notice"}) && strings.Contains(said, "kube-apiserver knows no MeshService of pillion.dev/v1alpha1")
	})
	defineMeshServices(t, c)
	if results, said := meshServiceSays(t, "-n", namespace); len(results) > 0 {
		t.Errorf("once it is known again it finds %q: %s", results, said)
	}
}
