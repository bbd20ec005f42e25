package e2e

import (
	"fmt"
	"math/rand/v2"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// podGenerator makes pods over the fields that an injection meets. Not all of them
// are ones that kube-apiserver accepts.
type podGenerator struct{ *rand.Rand }

func newPodGenerator(seed uint64) *podGenerator {
	return &podGenerator{rand.New(rand.NewPCG(seed, seed))}
}

// often says yes with that chance.
func (g *podGenerator) often(chance float64) bool { return g.Float64() < chance }

// pick chooses one of some values.
func pick[T any](g *podGenerator, values ...T) T { return values[g.IntN(len(values))] }

// maybe is a pointer to one of some values, or nil.
func maybe[T any](g *podGenerator, chance float64, values ...T) *T {
	if !g.often(chance) {
		return nil
	}
	return new(pick(g, values...))
}

func (g *podGenerator) pod(n int) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: g.meta(n)}
	s := &pod.Spec
	s.RestartPolicy = pick(g, "", "", corev1.RestartPolicyAlways, corev1.RestartPolicyNever, corev1.RestartPolicyOnFailure)
	s.TerminationGracePeriodSeconds = maybe(g, 0.5, int64(0), 1, 10, 30, 60, 90, 3600)
	s.ActiveDeadlineSeconds = maybe(g, 0.1, int64(1), 600)
	s.Volumes = g.volumes()
	for i := range g.IntN(4) {
		s.InitContainers = append(s.InitContainers, g.initContainer(i, s.Volumes))
	}
	for i := range 1 + g.IntN(5) {
		s.Containers = append(s.Containers, g.container(fmt.Sprintf("app-%d", i), s.Volumes))
	}
	if g.often(0.5) {
		s.SecurityContext = g.podSecurity()
	}
	g.network(s)
	g.placement(s)
	if g.often(0.3) {
		s.Resources = new(g.resources())
	}
	return pod
}

func (g *podGenerator) meta(n int) metav1.ObjectMeta {
	meta := metav1.ObjectMeta{Labels: map[string]string{optInLabel: "true"}}
	if name := fmt.Sprintf("random-%d", n); g.often(0.5) {
		meta.Name = name
	} else {
		meta.GenerateName = name + "-"
	}
	if g.often(0.5) {
		meta.Labels[pick(g, "app", "app.kubernetes.io/name", "version")] = pick(g, "shop", "a.b", "X_1", "")
	}
	if g.often(0.3) {
		controller := true
		meta.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: pick(g, "ReplicaSet", "StatefulSet", "Job"), Name: "owner-6d5f8c7b9d", UID: "u", Controller: &controller}}
		meta.Labels["pod-template-hash"] = "6d5f8c7b9d"
	}
	if g.often(0.5) {
		meta.Annotations = map[string]string{"example.com/note": "line\nline"}
		for range g.IntN(4) {
			a := pick(g, [2]string{"mode", "classic"}, [2]string{"mode", "native"}, [2]string{"cpu-limit", "50m"}, [2]string{"memory-request", "1Gi"},
				[2]string{"reserved-inbound-ports", "8080-8082"}, [2]string{"pre-drain-delay", "0s"}, [2]string{"drain-time", "5m"}, [2]string{"unknown", "x"}, [2]string{"concurrency", "3"})
			meta.Annotations["pillion.dev/"+a[0]] = a[1]
		}
		if g.often(0.2) {
			meta.Annotations["cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"] = pick(g, "", "volume-0", "volume-0,pillion-bin")
		}
	}
	return meta
}

func (g *podGenerator) volumes() (volumes []corev1.Volume) {
	for i := range g.IntN(4) {
		volumes = append(volumes, corev1.Volume{Name: fmt.Sprintf("volume-%d", i), VolumeSource: pick(g,
			corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{Medium: pick(g, corev1.StorageMediumDefault, corev1.StorageMediumMemory)}},
			corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: "map"}, DefaultMode: maybe(g, 0.5, int32(0o400))}},
			corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "secret", Optional: maybe(g, 0.5, true, false)}},
			corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/var/log"}},
			corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "claim"}},
			corev1.VolumeSource{DownwardAPI: &corev1.DownwardAPIVolumeSource{Items: []corev1.DownwardAPIVolumeFile{{Path: "labels", FieldRef: &corev1.ObjectFieldSelector{FieldPath: "metadata.labels"}}}}},
			corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{Sources: []corev1.VolumeProjection{{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{Path: "token", ExpirationSeconds: maybe(g, 1, int64(600), 7200)}}}}},
			corev1.VolumeSource{CSI: &corev1.CSIVolumeSource{Driver: "csi.example.com"}},
		)})
	}
	return volumes
}

// initContainer is one that ends, or a native sidecar.
func (g *podGenerator) initContainer(i int, volumes []corev1.Volume) corev1.Container {
	c := g.container(fmt.Sprintf("init-%d", i), volumes)
	if g.often(0.4) {
		c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		return c
	}
	c.LivenessProbe, c.ReadinessProbe, c.StartupProbe, c.Lifecycle = nil, nil, nil, nil
	return c
}

func (g *podGenerator) container(name string, volumes []corev1.Volume) corev1.Container {
	c := corev1.Container{
		Name: name, Image: pick(g, "app", "registry.example.com/team/app:1.2", "app@sha256:"+strings.Repeat("a", 64)),
		ImagePullPolicy: pick(g, "", corev1.PullAlways, corev1.PullNever), WorkingDir: pick(g, "", "/srv"),
		Stdin: g.often(0.1), TTY: g.often(0.1),
		TerminationMessagePolicy: pick(g, "", corev1.TerminationMessageFallbackToLogsOnError),
	}
	if g.often(0.5) {
		c.Command, c.Args = []string{"/app", "$(HOME)"}, []string{"--flag", "line\nline", ""}
	}
	for i := range g.IntN(3) {
		c.Ports = append(c.Ports, corev1.ContainerPort{
			Name: fmt.Sprintf("port-%d", i), ContainerPort: pick(g, int32(80), 8080, 8081, 3306, 9090, 53, 9042, 14899, 15000) + int32(i)*100,
			Protocol: pick(g, "", corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP), HostPort: pick(g, int32(0), 0, 0, 0, 31000+int32(g.IntN(1000))),
		})
	}
	for i := range g.IntN(4) {
		c.Env = append(c.Env, g.variable(i))
	}
	for i, volume := range volumes {
		if g.often(0.5) {
			c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: volume.Name, MountPath: pick(g, "/pillion/bin", "/pillion/run", "/data", "/mnt") + fmt.Sprint(i), ReadOnly: g.often(0.5), SubPath: pick(g, "", "sub")})
		}
	}
	c.LivenessProbe, c.ReadinessProbe, c.StartupProbe = g.probe(c.Ports, false), g.probe(c.Ports, true), g.probe(c.Ports, false)
	c.Lifecycle = g.lifecycle()
	c.Resources = g.resources()
	if g.often(0.3) {
		c.SecurityContext = g.security()
	}
	return c
}

func (g *podGenerator) variable(i int) corev1.EnvVar {
	name := fmt.Sprintf("VARIABLE_%d", i)
	return pick(g,
		corev1.EnvVar{Name: name, Value: pick(g, "", "value", "$(OTHER)", "line\nline")},
		corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{FieldPath: "status.podIP"}}},
		corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{Key: "key", LocalObjectReference: corev1.LocalObjectReference{Name: "secret"}}}},
		corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{ResourceFieldRef: &corev1.ResourceFieldSelector{Resource: "limits.cpu", Divisor: resource.MustParse("1m")}}})
}

func (g *podGenerator) handler(ports []corev1.ContainerPort) corev1.ProbeHandler {
	number := intstr.FromInt32(pick(g, int32(80), 8080, 8081, 3306, 15020, 15040, 65535))
	if len(ports) > 0 && g.often(0.5) {
		number = intstr.FromString(pick(g, ports...).Name)
	}
	if g.often(0.05) {
		number = intstr.FromString("nowhere")
	}
	return pick(g,
		corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
			Path: pick(g, "", "/", "/healthz?full=1"), Port: number, Scheme: pick(g, "", corev1.URISchemeHTTPS), Host: pick(g, "", "", "", "example.com", "127.0.0.1"),
			HTTPHeaders: pick(g, nil, []corev1.HTTPHeader{{Name: "Host", Value: "a"}, {Name: "X-A", Value: ""}}),
		}},
		corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: number, Host: pick(g, "", "", "10.0.0.1")}},
		corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: pick(g, int32(50051), 8080), Service: maybe(g, 0.5, "", "liveness")}},
		corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"true"}}})
}

func (g *podGenerator) probe(ports []corev1.ContainerPort, readiness bool) *corev1.Probe {
	if g.often(0.5) {
		return nil
	}
	p := &corev1.Probe{
		ProbeHandler:        g.handler(ports),
		InitialDelaySeconds: pick(g, int32(0), 5), TimeoutSeconds: pick(g, int32(0), 1, 30), PeriodSeconds: pick(g, int32(0), 3), FailureThreshold: pick(g, int32(0), 1, 60),
	}
	if readiness {
		p.SuccessThreshold = pick(g, int32(0), 1, 3)
	} else {
		p.TerminationGracePeriodSeconds = maybe(g, 0.2, int64(1), 30, 300)
	}
	return p
}

func (g *podGenerator) lifecycle() *corev1.Lifecycle {
	hook := func() *corev1.LifecycleHandler {
		return pick(g, nil,
			&corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{"sleep", "5"}}},
			&corev1.LifecycleHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/stop", Port: intstr.FromInt32(8080)}},
			&corev1.LifecycleHandler{Sleep: &corev1.SleepAction{Seconds: pick(g, int64(0), 1, 10, 50)}})
	}
	return pick(g, nil, &corev1.Lifecycle{}, &corev1.Lifecycle{PreStop: hook(), PostStart: hook()})
}
