package e2e

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/pillion-mesh/pillion/injector"
)

// twins are two namespaces that differ in the opt-in alone. The same pod in both
// shows what kube-apiserver makes of it by itself, and what the injection adds.
type twins struct {
	client client.Client
	// warned is what kube-apiserver said about the last pod in the meshed one.
	warned        *warned
	plain, meshed string
	// labels of the meshed one.
	labels map[string]string
}

// newTwins makes the two with these further labels. Their names are new each
// time: a namespace that kube-apiserver has not seen yet it looks up, while labels
// that change take it a moment to notice.
func newTwins(t *testing.T, labels map[string]string) *twins {
	t.Helper()
	w := &twins{warned: &warned{}}
	w.client = apiServer(t, w.warned)
	w.plain = newNamespace(t, w.client, "plain-", labels)
	w.labels = map[string]string{optInLabel: "true"}
	maps.Copy(w.labels, labels)
	w.meshed = newNamespace(t, w.client, "meshed-", w.labels)
	return w
}

func newNamespace(t *testing.T, c client.Client, prefix string, labels map[string]string) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: prefix, Labels: labels}}
	if err := c.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	unlabelAtTheEnd(t, c, namespace.Name)
	return namespace.Name
}

// unlabelAtTheEnd takes a namespace's labels away when the test ends. The namespace stays,
// since nothing here takes one away, and other tests look at all that have opted in.
func unlabelAtTheEnd(t *testing.T, c client.Client, name string) {
	t.Helper()
	t.Cleanup(func() {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		_, err := controllerutil.CreateOrUpdate(context.Background(), c, namespace, func() error {
			namespace.Labels = nil
			return nil
		})
		if err != nil {
			t.Errorf("taking the labels of namespace %s away: %v", name, err)
		}
	})
}

// createIn is the pod as kube-apiserver would store it in that namespace, without
// what kube-apiserver computes for the pod as a whole from its containers' resources.
func (w *twins) createIn(t *testing.T, namespace string, pod *corev1.Pod) (*corev1.Pod, error) {
	t.Helper()
	w.warned.texts = nil
	created := pod.DeepCopy()
	created.Namespace = namespace
	err := w.client.Create(t.Context(), created, client.DryRunAll)
	if whole := created.Spec.Resources; whole != nil {
		stated := cmp.Or(pod.Spec.Resources, &corev1.ResourceRequirements{}).DeepCopy()
		stated.Requests = withSet(stated.Requests, created, "requests")
		whole.Requests, whole.Limits = keep(whole.Requests, stated.Requests), keep(whole.Limits, stated.Limits)
	}
	return created, err
}

// withSet is a list with what the status says was set for the pod as a whole.
func withSet(list corev1.ResourceList, pod *corev1.Pod, name string) corev1.ResourceList {
	status, err := injector.ParseStatus(pod.Annotations[injector.StatusAnnotation])
	if err != nil {
		return list
	}
	with := corev1.ResourceList{}
	maps.Copy(with, list)
	for _, change := range status.Changed {
		if rest, ok := strings.CutPrefix(change.Path, "spec.resources."+name+"["); ok {
			with[corev1.ResourceName(strings.TrimSuffix(rest, "]"))] = resource.Quantity{}
		}
	}
	return with
}

// keep is the part of a list that another one names.
func keep(list, stated corev1.ResourceList) corev1.ResourceList {
	maps.DeleteFunc(list, func(name corev1.ResourceName, _ resource.Quantity) bool {
		_, ok := stated[name]
		return !ok
	})
	return list
}

// create creates a pod in both. It has to be accepted in both, and to differ by
// exactly our parts.
func (w *twins) create(t *testing.T, pod *corev1.Pod) (meshed *corev1.Pod, status injector.Status) {
	t.Helper()
	plain, err := w.createIn(t, w.plain, pod)
	if err != nil {
		t.Fatalf("kube-apiserver refuses the pod even without the mesh: %v", err)
	}
	if meshed, err = w.createIn(t, w.meshed, pod); err != nil {
		t.Fatalf("the pod is refused with the mesh alone: %v\n%s", err, asJSON(t, pod))
	}
	return meshed, checkOnlyOurParts(t, plain, meshed)
}

// checkUntouched holds that the pod is stored as it would be without the mesh.
func (w *twins) checkUntouched(t *testing.T, pod *corev1.Pod) {
	t.Helper()
	plain, err := w.createIn(t, w.plain, pod)
	if err != nil {
		t.Fatalf("kube-apiserver refuses the pod even without the mesh: %v", err)
	}
	meshed, err := w.createIn(t, w.meshed, pod)
	if err != nil {
		t.Fatal(err)
	}
	checkSame(t, stored(t, plain), stored(t, meshed))
}

// appPod is a pod that has opted in, with one app container that is probed.
func appPod(name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{optInLabel: "true", "app": "shop"}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "app", Image: "app:1",
			Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 8080}},
			LivenessProbe: &corev1.Probe{ProbeHandler: corev1.ProbeHandler{
				HTTPGet: &corev1.HTTPGetAction{Path: "/healthz", Port: intstr.FromString("http")},
			}},
		}}},
	}
}

// container finds one of a pod's containers, of either list.
func container(t *testing.T, pod *corev1.Pod, name string) *corev1.Container {
	t.Helper()
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			if list[i].Name == name {
				return &list[i]
			}
		}
	}
	t.Fatalf("pod %s has no container %s", pod.Name, name)
	return nil
}

func names(containers []corev1.Container) []string {
	found := make([]string, len(containers))
	for i := range containers {
		found[i] = containers[i].Name
	}
	return found
}

func asJSON(t *testing.T, value any) []byte {
	t.Helper()
	raw, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// about says whether kube-apiserver passed on a warning for that reason.
func (w *warned) about(reason injector.Reason) bool {
	return slices.ContainsFunc(w.texts, func(text string) bool { return strings.HasPrefix(text, reason.Code) })
}

// decode reads JSON and keeps numbers as they are written.
func decode(t *testing.T, raw []byte, into any) {
	t.Helper()
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	if err := decoder.Decode(into); err != nil {
		t.Fatalf("%v: %s", err, raw)
	}
}
