package injector

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// initCommand is where pillion-init is in its image.
const initCommand = "/pillion-init"

// plan is what is added to a pod, as JSON.
type plan struct {
	init, sidecar jsontext.Value
	// mesh is the volume of the service's MeshService; nil for none.
	mesh jsontext.Value
	// hash over them and the other volumes.
	hash string
}

// build renders the sidecar. Every value in it is typed until the moment of
// rendering: nothing that an owner wrote can become a field.
func (i *Injector) build(s *Sidecar) plan {
	frames, ok := i.frames[shapeOf(s)]
	if !ok {
		frames = i.newFrames(s)
	}
	p := plan{init: frames.init.with("apply", s.Redirect.Args()), sidecar: frames.sidecar.with("run", s.Run.Args())}
	if s.MeshConfigMap != "" {
		p.mesh = i.meshVolume.of(s.MeshConfigMap)
	}
	hash := sha256.New()
	hash.Write(p.init)
	hash.Write(p.sidecar)
	hash.Write(i.volumes)
	hash.Write(p.mesh)
	p.hash = shortHash(hash.Sum(nil))
	return p
}

// render marshals one of Kubernetes' own types, which cannot fail. The standard
// library's encoder is the faster one for them.
func render(value any) jsontext.Value {
	rendered, err := json.Marshal(value)
	if err != nil {
		panic(fmt.Sprintf("rendering a %T: %v", value, err))
	}
	return rendered
}

// shortHash is enough of a SHA-256 to tell plans and configurations apart.
func shortHash(sum []byte) string { return hex.EncodeToString(sum[:6]) }

// initContainer installs the redirect and puts pillion-proxy beside Envoy. It is
// root because the kernel's rules need NET_ADMIN, and holds nothing else. Its
// arguments are left to the frame.
func (i *Injector) initContainer(s *Sidecar) *corev1.Container {
	return &corev1.Container{
		Name:            InitContainerName,
		Image:           i.config.Images.Init,
		ImagePullPolicy: corev1.PullPolicy(i.config.Images.PullPolicy),
		Command:         []string{initCommand},
		// The sidecar's resources: an init container's count only where they are
		// above those of what runs later, and one size satisfies a LimitRange.
		Resources: resources(s.Resources),
		VolumeMounts: []corev1.VolumeMount{
			{Name: BinVolume, MountPath: lifecycle.BinDir},
		},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false),
			Capabilities: &corev1.Capabilities{
				Add:  []corev1.Capability{"NET_ADMIN", "NET_RAW"},
				Drop: []corev1.Capability{"ALL"},
			},
			Privileged:             new(false),
			ReadOnlyRootFilesystem: new(true),
			RunAsNonRoot:           new(false),
			RunAsUser:              new(int64(0)),
			RunAsGroup:             new(int64(0)),
			SeccompProfile:         &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
}

// sidecarContainer runs Envoy under pillion-proxy. Its arguments are left to the
// frame.
func (i *Injector) sidecarContainer(s *Sidecar) *corev1.Container {
	c := &corev1.Container{
		Name:            SidecarName,
		Image:           i.config.Images.Envoy,
		ImagePullPolicy: corev1.PullPolicy(i.config.Images.PullPolicy),
		Command:         []string{lifecycle.ProxyPath},
		Env: []corev1.EnvVar{
			fromField("POD_NAME", "metadata.name"), fromField("POD_NAMESPACE", "metadata.namespace"),
			fromField("POD_IP", "status.podIP"), fromField("NODE_NAME", "spec.nodeName"),
		},
		Ports: []corev1.ContainerPort{
			{Name: "pillion-status", ContainerPort: int32(s.Run.StatusPort), Protocol: corev1.ProtocolTCP},
		},
		Resources: resources(s.Resources),
		VolumeMounts: []corev1.VolumeMount{
			{Name: BinVolume, MountPath: lifecycle.BinDir, ReadOnly: true},
			{Name: RunVolume, MountPath: lifecycle.RunDir},
		},
		// Not live means not ready: restarting a proxy for failing a check would cut
		// every connection that it still serves.
		ReadinessProbe: &corev1.Probe{
			ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: "/readyz", Port: intstr.FromInt32(int32(s.Run.StatusPort))}},
			// A pod is ready this much later at most.
			PeriodSeconds: 2, TimeoutSeconds: 3, FailureThreshold: 3,
		},
		Lifecycle: &corev1.Lifecycle{
			PreStop: &corev1.LifecycleHandler{Exec: proxyCommand("drain", s.Drain.Args())},
		},
		TerminationMessagePolicy: corev1.TerminationMessageFallbackToLogsOnError,
		SecurityContext: &corev1.SecurityContext{
			AllowPrivilegeEscalation: new(false),
			Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
			Privileged:               new(false),
			ReadOnlyRootFilesystem:   new(true),
			RunAsNonRoot:             new(true),
			RunAsUser:                &i.config.Identity.UID,
			RunAsGroup:               &i.config.Identity.GID,
			SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
		},
	}
	if s.MeshConfigMap != "" {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: MeshVolume, MountPath: lifecycle.MeshDir, ReadOnly: true})
	}
	wait := proxyCommand("wait", s.Wait.Args())
	if s.Mode == v1alpha1.ModeNative {
		c.RestartPolicy = new(corev1.ContainerRestartPolicyAlways)
		// One probe that waits as long as is allowed, rather than many that ask:
		// it ends the moment Envoy is ready, and its last words are in the event. Where
		// it fails, kubelet runs the preStop hook before it ends the container: a drain of
		// an Envoy that never served takes no time, so no grace period is set here.
		c.StartupProbe = &corev1.Probe{
			ProbeHandler:   corev1.ProbeHandler{Exec: wait},
			TimeoutSeconds: seconds(s.Wait.Timeout) + 5, PeriodSeconds: 1, FailureThreshold: 1,
		}
	} else {
		// kubelet starts the next container when this hook has ended.
		c.Lifecycle.PostStart = &corev1.LifecycleHandler{Exec: wait}
	}
	return c
}

func proxyCommand(command string, args []string) *corev1.ExecAction {
	return &corev1.ExecAction{Command: append([]string{lifecycle.ProxyPath, command}, args...)}
}

func fromField(name, path string) corev1.EnvVar {
	return corev1.EnvVar{Name: name, ValueFrom: &corev1.EnvVarSource{FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: path}}}
}

func seconds(d time.Duration) int32 { return int32(d / time.Second) }

func resources(r v1alpha1.Resources) corev1.ResourceRequirements {
	return corev1.ResourceRequirements{Requests: resourceList(r.Requests), Limits: resourceList(r.Limits)}
}

func resourceList(v v1alpha1.ResourceValues) corev1.ResourceList {
	list := corev1.ResourceList{}
	if v.CPU != nil {
		list[corev1.ResourceCPU] = *v.CPU
	}
	if v.Memory != nil {
		list[corev1.ResourceMemory] = *v.Memory
	}
	return list
}

// meshVolume is there whether or not the service has a MeshService, so that one that is
// written later reaches pods that run. Without its ConfigMap the folder is empty.
func meshVolume() *corev1.Volume {
	return &corev1.Volume{Name: MeshVolume, VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{Optional: new(true)}}}
}

// sharedVolumes are the same for every pod. Their size is bounded so that a fault
// in the sidecar cannot fill the node's disk.
func sharedVolumes() []corev1.Volume {
	emptyDir := func(size string) corev1.VolumeSource {
		limit := resource.MustParse(size)
		return corev1.VolumeSource{EmptyDir: &corev1.EmptyDirVolumeSource{SizeLimit: &limit}}
	}
	return []corev1.Volume{
		{Name: BinVolume, VolumeSource: emptyDir("32Mi")},
		{Name: RunVolume, VolumeSource: emptyDir("128Mi")},
	}
}
