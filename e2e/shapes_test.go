package e2e

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/pillion-mesh/pillion/lifecycle"
)

// modes of the sidecar.
func modes() []string { return []string{"native", "classic"} }

// TestNamesOfAnyLength: "generateName, empty name, 63/253-char names, canonical label
// truncation ending in '.': valid labels". Labels are left alone, and what is made of
// a name (the service that the proxy reports as) is valid.
func TestNamesOfAnyLength(t *testing.T) {
	install(t, nil)
	w := newTwins(t, nil)
	// What a pod without a label reports as.
	services := map[string]string{"checkout-6d5f8c7b9d-": "checkout-6d5f8c7b9d", "a.b.c-d-": "a.b.c-d", "a.b-c.d": "a.b-c.d"}
	dotAt63 := strings.Repeat("a", 62) + "." + strings.Repeat("b", 190)
	for _, meta := range []metav1.ObjectMeta{
		{GenerateName: "checkout-6d5f8c7b9d-"},
		{GenerateName: "a"},
		{GenerateName: "a.b.c-d-"},
		{GenerateName: strings.Repeat("g", 253)},
		{Name: "a"},
		{Name: "1"},
		{Name: "a.b-c.d"},
		{Name: strings.Repeat("n", 63)},
		{Name: strings.Repeat("n", 64)},
		{Name: strings.Repeat("n", 253)},
		{Name: dotAt63},
		{Name: "both", GenerateName: "both-"},
	} {
		for _, value := range []string{"", "v", strings.Repeat("l", 63), "L_a.b-c"} {
			pod := appPod("")
			pod.Name, pod.GenerateName = meta.Name, meta.GenerateName
			pod.Labels = map[string]string{optInLabel: "true"}
			if value != "" {
				pod.Labels["app.kubernetes.io/name"] = value
			}
			meshed, status := w.create(t, pod)
			if err := lifecycle.ValidateService(status.Service); err != nil || len(status.Service) > validation.DNS1123SubdomainMaxLength {
				t.Errorf("%+v: the service is %q: %v", meta, status.Service, err)
			}
			if want := cmp.Or(value, services[meta.Name+meta.GenerateName]); want != "" && status.Service != want {
				t.Errorf("%+v, label %q: the service is %q, want %q", meta, value, status.Service, want)
			}
			if arguments := container(t, meshed, "envoy").Args; !slices.Contains(arguments, "--service="+status.Service) {
				t.Errorf("the proxy reports as %q, and the status says %q", arguments, status.Service)
			}
		}
	}
}

// TestShapesOfPods: "no annotations map, null labels, 0 init containers, 50 containers,
// 1000 env: patch paths valid (no add into missing parent)".
func TestShapesOfPods(t *testing.T) {
	install(t, nil)
	w := newTwins(t, nil)
	for name, change := range map[string]func(pod *corev1.Pod){
		"as little as there can be": func(pod *corev1.Pod) {
			pod.Labels = map[string]string{optInLabel: "true"}
			pod.Spec = corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "a"}}}
		},
		"empty lists and maps": func(pod *corev1.Pod) {
			pod.Annotations = map[string]string{}
			pod.Spec.InitContainers, pod.Spec.Volumes = []corev1.Container{}, []corev1.Volume{}
			pod.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{}
			pod.Spec.Containers[0].Ports = append(pod.Spec.Containers[0].Ports, corev1.ContainerPort{ContainerPort: 1, Protocol: corev1.ProtocolUDP})
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{}
			pod.Spec.Containers[0].SecurityContext = &corev1.SecurityContext{}
		},
		"50 containers": func(pod *corev1.Pod) {
			for i := range 49 {
				c := pod.Spec.Containers[0].DeepCopy()
				c.Name = fmt.Sprintf("app-%d", i)
				pod.Spec.Containers = append(pod.Spec.Containers, *c)
			}
		},
		"50 init containers": func(pod *corev1.Pod) {
			for i := range 50 {
				pod.Spec.InitContainers = append(pod.Spec.InitContainers, corev1.Container{Name: fmt.Sprintf("init-%d", i), Image: "i"})
			}
		},
		"1000 variables": func(pod *corev1.Pod) {
			for i := range 1000 {
				pod.Spec.Containers[0].Env = append(pod.Spec.Containers[0].Env, corev1.EnvVar{Name: fmt.Sprintf("V%d", i), Value: strings.Repeat("v", i)})
			}
		},
		"100 volumes": func(pod *corev1.Pod) {
			for i := range 100 {
				pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: fmt.Sprintf("volume-%d", i)})
			}
		},
	} {
		for _, mode := range append(modes(), "auto") {
			t.Run(name+"/"+mode, func(t *testing.T) {
				pod := appPod("shape")
				change(pod)
				if mode != "auto" {
					metav1.SetMetaDataAnnotation(&pod.ObjectMeta, "pillion.dev/mode", mode)
				}
				w.create(t, pod)
			})
		}
	}
}

// TestNullLabelsAndLists: the same for what a typed client cannot send. Without
// labels no pod opts in, and none is held up either.
func TestNullLabelsAndLists(t *testing.T) {
	install(t, nil)
	w := newTwins(t, map[string]string{strictLabel: "true"})
	for _, spec := range []string{
		`"initContainers":null,"volumes":null,"securityContext":null,"nodeSelector":null,"terminationGracePeriodSeconds":null,` +
			`"containers":[{"name":"a","image":"a","ports":null,"env":null,"lifecycle":null,"livenessProbe":null,"securityContext":null}]`,
		`"initContainers":[],"volumes":[],"nodeSelector":{},"securityContext":{},"containers":[{"name":"a","image":"a","ports":[],"lifecycle":{},"resources":{}}]`,
		`"containers":[{"name":"a","image":"a","lifecycle":{"preStop":null,"postStart":null},"livenessProbe":{"tcpSocket":{"port":1,"host":""},"httpGet":null}}]`,
	} {
		for _, annotations := range []string{"", `,"annotations":null`, `,"annotations":{}`} {
			opted := w.createRaw(t, `{"labels":{"`+optInLabel+`":"true"}`+annotations+`}`, spec)
			checkOnlyOurParts(t, opted[0], opted[1])
			for _, labels := range []string{`{"labels":null`, `{"labels":{}`, `{"name":"raw"`} {
				left := w.createRaw(t, labels+annotations+`}`, spec)
				checkSame(t, stored(t, left[0]), stored(t, left[1]))
			}
		}
	}
}

// createRaw sends a pod's JSON to both namespaces, dry.
func (w *twins) createRaw(t *testing.T, metadata, spec string) (created [2]*corev1.Pod) {
	t.Helper()
	for i, namespace := range []string{w.plain, w.meshed} {
		created[i] = &corev1.Pod{}
		body := `{"apiVersion":"v1","kind":"Pod","metadata":` + strings.Replace(metadata, "{", `{"generateName":"raw-",`, 1) + `,"spec":{` + spec + `}}`
		err := restClient(t).Post().Namespace(namespace).Resource("pods").Param("dryRun", "All").
			SetHeader("Content-Type", "application/json").Body([]byte(body)).Do(t.Context()).Into(created[i])
		if err != nil {
			t.Fatalf("%s: %v\n%s", namespace, err, body)
		}
	}
	return created
}
