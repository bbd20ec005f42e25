// Package dataplane holds the promises about what runs in a pod: what our injector
// adds to a pod is run, with a real Envoy and the kernel's own rules, and traffic of
// many kinds goes through it. There is no cluster: see package sandbox.
package dataplane

import (
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/e2e/injected"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/injector"
)

// programs are what is tested.
var programs = injected.NewPrograms()

// longest is what anything may take that takes a second or so, before a test gives up.
const longest = time.Minute

func TestMain(m *testing.M) { sandbox.Main(m, programs.Remove) }

// images are what the injected containers run: pillion-init's from scratch, but with
// iptables where a backend needs it, and Envoy's.
func images(t *testing.T, withIptables bool) sandbox.Images {
	t.Helper()
	of := programs.Images(t)
	if withIptables {
		maps.Copy(of.Init, sandbox.Base())
	}
	return of
}

// want is a pod to inject, in the terms of its owner.
type want struct {
	mode        v1alpha1.SidecarMode
	backend     string // of pillion-init; empty for its own choice
	annotations map[string]string
	probe       *corev1.Probe
	configure   func(*v1alpha1.InjectorConfig)
	// change changes the pod behind injection, for faults and controls.
	change func(*corev1.Pod)
}

// podOf is a pod with one app container, as the webhook would return it.
func podOf(t *testing.T, name string, w want) *corev1.Pod {
	t.Helper()
	config := v1alpha1.DefaultConfig()
	if w.mode != "" {
		config.Sidecar.Mode = &w.mode
	}
	if w.configure != nil {
		w.configure(config)
	}
	pod := injected.Pod(t, config, name, func(pod *corev1.Pod) {
		pod.Annotations, pod.Spec.Containers[0].ReadinessProbe = w.annotations, w.probe
	})
	for n := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[n]; w.backend != "" && c.Name == injector.InitContainerName {
			c.Args = append([]string{c.Args[0], "--backend=" + w.backend}, c.Args[1:]...)
		}
	}
	if w.change != nil {
		w.change(pod)
	}
	return pod
}

// run injects a pod and starts it; the test ends where it does not come up.
func run(t *testing.T, p *sandbox.Pod, w want, app sandbox.App) *sandbox.Running {
	t.Helper()
	running, err := p.Run(t, podOf(t, p.Name, w), images(t, strings.HasPrefix(w.backend, "iptables")), app)
	if err != nil {
		t.Fatalf("starting pod %s: %v", p.Name, err)
	}
	return running
}
