package main

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
)

// pod of a ReplicaSet web-HASH; change says what is special about it.
func pod(name string, change func(*corev1.Pod)) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "shop", Name: name, Labels: map[string]string{"service-mesh-enabled": "true", "pod-template-hash": "6c"},
			OwnerReferences: []metav1.OwnerReference{{Kind: "ReplicaSet", Name: "web-6c", Controller: ptr.To(true)}},
		},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app"}}},
	}
	change(p)
	return p
}

// sidecar gives a pod what injection by a version with a configuration gives it.
func sidecar(version, config string) func(*corev1.Pod) {
	return func(p *corev1.Pod) {
		p.Annotations = map[string]string{injector.StatusAnnotation: fmt.Sprintf(`{"version":%q,"config":%q,"plan":"p"}`, version, config)}
		p.Spec.InitContainers = []corev1.Container{{Name: injector.InitContainerName}, {Name: injector.SidecarName}}
	}
}

// TestStatus counts pods by workload and state, and says what to do. What has ended or
// is about to, and what is in namespaces that did not opt in, does not count.
func TestStatus(t *testing.T) {
	t.Parallel()
	config, err := v1alpha1.Decode([]byte("apiVersion: pillion.dev/v1alpha1\nkind: InjectorConfig\n"))
	if err != nil {
		t.Fatal(err)
	}
	inject, err := injector.New(config)
	if err != nil {
		t.Fatal(err)
	}
	hash := inject.ConfigHash()
	of := func(kind, name string) func(*corev1.Pod) {
		return func(p *corev1.Pod) {
			p.OwnerReferences[0].Kind, p.OwnerReferences[0].Name = kind, name
		}
	}
	objects := []client.Object{
		&corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "pillion", Name: "pillion-webhook", Labels: map[string]string{"app.kubernetes.io/name": "pillion", "app.kubernetes.io/component": "webhook"}},
			Data:       map[string]string{"config.yaml": "apiVersion: pillion.dev/v1alpha1\nkind: InjectorConfig\n"},
		},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"service-mesh-enabled": "true"}}},
		&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "other"}},
		pod("current", sidecar(injector.Version, hash)),
		pod("older", sidecar("v0", hash)),
		pod("reconfigured", sidecar(injector.Version, "other")),
		pod("ended", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }),
		pod("elsewhere", func(p *corev1.Pod) { p.Namespace = "other" }),
		pod("sorted", func(p *corev1.Pod) {
			of("Job", "sorted")(p)
			sidecar(injector.Version, hash)(p)
			p.Annotations[injector.StatusAnnotation] = strings.Replace(p.Annotations[injector.StatusAnnotation], "{", `{"mode":"native",`, 1)
		}),
		pod("set-0", of("StatefulSet", "set")),
		pod("bare", func(p *corev1.Pod) { p.OwnerReferences = nil }),
		pod("plain", func(p *corev1.Pod) { p.OwnerReferences, p.Labels = nil, nil }),
	}
	c := &connection{Client: fake.NewClientBuilder().WithObjects(objects...).Build()}
	f, err := c.installation(t.Context(), time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	lines, unsure, err := c.workloads(t.Context(), f, "")
	if err != nil || len(unsure) != 1 {
		t.Fatal(err, unsure)
	}
	var out bytes.Buffer
	if err := (&program{out: &out}).printStatus(lines); err != nil {
		t.Fatal(err)
	}
	const want = `NAMESPACE WORKLOAD INJECTED OUTDATED DAMAGED MISSED NOT INJECTED WHY
shop deployment/web 1 2 0 0 0 its sidecar is of version | kubectl -n shop rollout restart deployment/web
shop job/sorted 0 0 1 0 0 the init container | kubectl -n shop delete pod sorted
shop pod/bare 0 0 0 1 0 it opted in and has no sidecar | create it again
shop pod/plain 0 0 0 0 1 PIL010: the pod has no label service-mesh-enabled | service-mesh-enabled
shop statefulset/set 0 0 0 1 0 it opted in and has no sidecar | kubectl -n shop rollout restart statefulset/set
`
	got := strings.Split(out.String(), "\n")
	for n, line := range strings.Split(want, "\n") {
		begin, end, _ := strings.Cut(line, " | ")
		one := strings.Join(strings.Fields(got[min(n, len(got)-1)]), " ")
		if !strings.HasPrefix(one, strings.TrimSuffix(begin, " |")) || !strings.HasSuffix(one, end) {
			t.Errorf("line %d is %q, want %q", n, one, line)
		}
	}
	if len(got) != strings.Count(want, "\n")+1 {
		t.Errorf("status says\n%s", out.String())
	}
}

// TestStatusWithoutRelease says what was looked for, and where to look.
func TestStatusWithoutRelease(t *testing.T) {
	t.Parallel()
	var out, said bytes.Buffer
	p := program{name: "pillionctl", out: &out, errors: &said}
	if code := p.run([]string{"status", "--kubeconfig", "/no/such/file"}); code != exitFailed || !strings.Contains(said.String(), "/no/such/file") {
		t.Errorf("it ended with %d and said %q", code, said.String())
	}
	c := &connection{Client: fake.NewClientBuilder().Build(), config: &rest.Config{Host: "https://cluster.example"}}
	if _, err := c.installation(t.Context(), time.Time{}); err == nil || !strings.Contains(err.Error(), "https://cluster.example") {
		t.Errorf("the error is %v", err)
	}
}
