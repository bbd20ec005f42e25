// Package injected makes the pods that tests and benchmarks of the data plane run: as
// the webhook would return them, with the images that they name.
package injected

import (
	"encoding/json"
	"path/filepath"
	"testing"
	"time"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/e2e/envoy"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/injector"
)

// Pod is a pod of the service of its name, with one app container, opted in and
// injected. owner changes it before it is.
func Pod(tb testing.TB, config *v1alpha1.InjectorConfig, name string, owner func(*corev1.Pod)) *corev1.Pod {
	tb.Helper()
	if errs := v1alpha1.Validate(config); len(errs) > 0 {
		tb.Fatalf("the configuration: %v", errs)
	}
	of, err := injector.New(config)
	if err != nil {
		tb.Fatal(err)
	}
	pod := corev1.Pod{}
	pod.Name, pod.Labels = name, map[string]string{config.OptIn.Label: config.OptIn.Value, "app": name}
	pod.Spec.Containers = []corev1.Container{{Name: "app", Image: "app"}}
	if owner != nil {
		owner(&pod)
	}
	raw, err := json.Marshal(pod)
	if err != nil {
		tb.Fatal(err)
	}
	decoded, err := injector.DecodePod(raw)
	if err != nil {
		tb.Fatal(err)
	}
	result := of.Inject(injector.Request{Pod: decoded, Namespace: injector.Namespace{Name: "default"}, Now: time.Now()})
	if result.Decision.Verdict != injector.Inject {
		tb.Fatalf("pod %s is not injected: %s", name, result.Message)
	}
	encoded, err := injector.AppendPatch(nil, result.Patch)
	if err != nil {
		tb.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(encoded)
	if err == nil {
		raw, err = patch.Apply(raw)
	}
	if err != nil {
		tb.Fatal(err)
	}
	pod = corev1.Pod{}
	if err := json.Unmarshal(raw, &pod); err != nil {
		tb.Fatal(err)
	}
	return &pod
}

// Images are those that the added containers name: pillion-init's holds the two
// programs of a folder and nothing else, Envoy's what a distribution's image has.
func Images(tb testing.TB, programs string) sandbox.Images {
	tb.Helper()
	sidecar := sandbox.Base()
	sidecar["/usr/local/bin"] = filepath.Dir(envoy.Path(tb))
	ours := sandbox.Image{}
	for _, name := range [...]string{"pillion-init", "pillion-proxy"} {
		ours["/"+name] = filepath.Join(programs, name)
	}
	return sandbox.Images{Init: ours, Envoy: sidecar}
}
