package e2e

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/pillion-mesh/pillion/injector"
)

// TestClashesAreRefused: "user container with our name or our ports (15001..),
// UID 1337-style clash (container runs as proxy UID): rejection; never a silent loop
// (traffic bypass)". Each clash is one that kube-apiserver itself has nothing against.
func TestClashesAreRefused(t *testing.T) {
	installed := install(t, nil)
	w := newTwins(t, nil)
	proxy := int64(15033)
	asUser := &corev1.SecurityContext{RunAsUser: &proxy}
	asGroup := &corev1.SecurityContext{RunAsGroup: &proxy}
	app := func(pod *corev1.Pod) *corev1.Container { return &pod.Spec.Containers[0] }
	withInit := func(pod *corev1.Pod, c corev1.Container) {
		c.Image = "init"
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
	}
	always := new(corev1.ContainerRestartPolicyAlways)
	for name, c := range map[string]struct {
		change func(pod *corev1.Pod)
		reason injector.Reason
		path   string
	}{
		"container envoy":          {func(pod *corev1.Pod) { app(pod).Name = "envoy" }, injector.ReasonNameTaken, "spec.containers[0].name"},
		"container pillion-init":   {func(pod *corev1.Pod) { app(pod).Name = "pillion-init" }, injector.ReasonNameTaken, "spec.containers[0].name"},
		"init container envoy":     {func(pod *corev1.Pod) { withInit(pod, corev1.Container{Name: "envoy"}) }, injector.ReasonNameTaken, "spec.initContainers[0].name"},
		"both, without our status": {func(pod *corev1.Pod) { app(pod).Name = "envoy"; withInit(pod, corev1.Container{Name: "pillion-init"}) }, injector.ReasonNameTaken, "spec.initContainers[0].name"},
		"volume pillion-bin":       {func(pod *corev1.Pod) { pod.Spec.Volumes = []corev1.Volume{{Name: "pillion-bin"}} }, injector.ReasonNameTaken, "spec.volumes[0].name"},
		"volume pillion-mesh":      {func(pod *corev1.Pod) { pod.Spec.Volumes = []corev1.Volume{{Name: "pillion-mesh"}} }, injector.ReasonNameTaken, "spec.volumes[0].name"},
		"volume pillion-run":       {func(pod *corev1.Pod) { pod.Spec.Volumes = []corev1.Volume{{Name: "a"}, {Name: "pillion-run"}} }, injector.ReasonNameTaken, "spec.volumes[1].name"},
		"outbound port":            {port(15001, ""), injector.ReasonPortTaken, "spec.containers[0].ports[1].containerPort"},
		"inbound port":             {port(15006, corev1.ProtocolTCP), injector.ReasonPortTaken, "spec.containers[0].ports[1].containerPort"},
		"last of our ports":        {port(15099, corev1.ProtocolSCTP), injector.ReasonPortTaken, "spec.containers[0].ports[1].containerPort"},
		"native sidecar's port": {func(pod *corev1.Pod) {
			withInit(pod, corev1.Container{Name: "s", RestartPolicy: always, Ports: []corev1.ContainerPort{{ContainerPort: 15020}}})
		}, injector.ReasonPortTaken, "spec.initContainers[0].ports[0].containerPort"},
		"pod's user": {func(pod *corev1.Pod) { pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: &proxy} }, injector.ReasonProxyUser, "spec.securityContext.runAsUser"},
		"pod's group": {func(pod *corev1.Pod) {
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(int64(1)), RunAsGroup: &proxy}
		}, injector.ReasonProxyUser, "spec.securityContext.runAsGroup"},
		"container's user":           {func(pod *corev1.Pod) { app(pod).SecurityContext = asUser }, injector.ReasonProxyUser, "spec.containers[0].securityContext.runAsUser"},
		"container's group":          {func(pod *corev1.Pod) { app(pod).SecurityContext = asGroup }, injector.ReasonProxyUser, "spec.containers[0].securityContext.runAsGroup"},
		"init container's user":      {func(pod *corev1.Pod) { withInit(pod, corev1.Container{Name: "i", SecurityContext: asUser}) }, injector.ReasonProxyUser, "spec.initContainers[0].securityContext.runAsUser"},
		"init container's group":     {func(pod *corev1.Pod) { withInit(pod, corev1.Container{Name: "i", SecurityContext: asGroup}) }, injector.ReasonProxyUser, "spec.initContainers[0].securityContext.runAsGroup"},
		"more probes than our ports": {probes(61), injector.ReasonNoSpace, "no port is left"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := appPod("clash")
			c.change(pod)
			w.checkRefused(t, pod, c.reason, c.path)
			pod.Namespace = w.meshed
			if offline := expected(t, installed.injector, pod, w.labels); offline.Decision.Reason != c.reason {
				t.Errorf("offline the reason is %s, want %s", offline.Decision.Reason, c.reason)
			}
		})
	}
}

// TestNearClashesAreAccepted: what is next to a clash is none.
func TestNearClashesAreAccepted(t *testing.T) {
	install(t, nil)
	w := newTwins(t, nil)
	for name, change := range map[string]func(pod *corev1.Pod){
		"port before ours":        port(14999, ""),
		"port behind ours":        port(15100, ""),
		"UDP on one of our ports": port(15001, corev1.ProtocolUDP),
		"names like ours": func(pod *corev1.Pod) {
			pod.Spec.Containers[0].Name = "envoy-1"
			pod.Spec.Volumes = []corev1.Volume{{Name: "envoy"}, {Name: "pillion"}}
			pod.Spec.InitContainers = []corev1.Container{{Name: "pillion", Image: "i"}}
		},
		"user next to ours": func(pod *corev1.Pod) {
			pod.Spec.SecurityContext = &corev1.PodSecurityContext{RunAsUser: new(int64(15032)), RunAsGroup: new(int64(15034))}
		},
		"as many probes as ports": probes(60),
	} {
		t.Run(name, func(t *testing.T) {
			pod := appPod("near")
			change(pod)
			w.create(t, pod)
		})
	}
}

func port(number int32, protocol corev1.Protocol) func(pod *corev1.Pod) {
	return func(pod *corev1.Pod) {
		c := &pod.Spec.Containers[0]
		c.Ports = append(c.Ports, corev1.ContainerPort{ContainerPort: number, Protocol: protocol})
	}
}

// probes gives a pod so many containers, each probed on a port of its own.
func probes(count int32) func(pod *corev1.Pod) {
	return func(pod *corev1.Pod) {
		app := pod.Spec.Containers[0]
		pod.Spec.Containers = nil
		for i := range count {
			c := app.DeepCopy()
			c.Name, c.Ports = fmt.Sprintf("app-%d", i), nil
			c.LivenessProbe.HTTPGet.Port = intstr.FromInt32(10000 + i)
			pod.Spec.Containers = append(pod.Spec.Containers, *c)
		}
	}
}
