package bench

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// podOf is a pod as it comes to a webhook: defaulted, with the mount of its
// service account's token.
func podOf(s size) *corev1.Pod {
	pod := &corev1.Pod{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Pod"},
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "inventory-6c9f7d8b54-", Namespace: "warehouse",
			Labels: map[string]string{
				"app.kubernetes.io/name": "inventory", "app.kubernetes.io/version": "2026.11.3", "pod-template-hash": "6c9f7d8b54",
				"service-mesh-enabled": "true",
			},
			OwnerReferences: []metav1.OwnerReference{{
				APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "inventory-6c9f7d8b54", UID: "0f3f1a52-6c0e-4a4e-8d8e-6b1f3a8c1c55",
				Controller: new(true), BlockOwnerDeletion: new(true),
			}},
		},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: new(int64(30)), DNSPolicy: corev1.DNSClusterFirst,
			ServiceAccountName: "inventory", DeprecatedServiceAccount: "inventory", SchedulerName: corev1.DefaultSchedulerName,
			SecurityContext: &corev1.PodSecurityContext{}, EnableServiceLinks: new(true),
			PreemptionPolicy: new(corev1.PreemptLowerPriority), Priority: new(int32(0)),
			Tolerations: []corev1.Toleration{
				{Key: corev1.TaintNodeNotReady, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(300))},
				{Key: corev1.TaintNodeUnreachable, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: new(int64(300))},
			},
			Volumes: []corev1.Volume{tokenVolume()},
		},
	}
	for n := range s.annotations {
		if pod.Annotations == nil {
			pod.Annotations = map[string]string{}
		}
		pod.Annotations[fmt.Sprintf("warehouse.example.com/note-%02d", n)] = words(5)
	}
	for n := range s.volumes {
		pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: fmt.Sprintf("settings-%02d", n), VolumeSource: corev1.VolumeSource{
			ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: corev1.LocalObjectReference{Name: fmt.Sprintf("inventory-settings-%02d", n)}, DefaultMode: new(int32(420))},
		}})
	}
	for n := range s.inits {
		c := containerOf(s, fmt.Sprintf("migrate-%d", n), n)
		c.Ports, c.LivenessProbe, c.ReadinessProbe = nil, nil, nil
		pod.Spec.InitContainers = append(pod.Spec.InitContainers, c)
	}
	for n := range s.containers {
		pod.Spec.Containers = append(pod.Spec.Containers, containerOf(s, fmt.Sprintf("inventory-%d", n), n))
	}
	if s.shape != nil {
		s.shape(pod)
	}
	return pod
}

// containerOf is a container with ports of its own, by its number.
func containerOf(s size, name string, number int) corev1.Container {
	port := int32(8100 + 10*number)
	c := corev1.Container{
		Name: name, Image: "registry.example.com/warehouse/" + name + ":2026.11.3", ImagePullPolicy: corev1.PullIfNotPresent,
		Ports: []corev1.ContainerPort{
			{Name: fmt.Sprintf("http-%d", number), ContainerPort: port, Protocol: corev1.ProtocolTCP},
			{Name: fmt.Sprintf("grpc-%d", number), ContainerPort: port + 1, Protocol: corev1.ProtocolTCP},
		},
		Resources: corev1.ResourceRequirements{
			Requests: corev1.ResourceList{corev1.ResourceCPU: resource.MustParse("500m"), corev1.ResourceMemory: resource.MustParse("512Mi")},
			Limits:   corev1.ResourceList{corev1.ResourceMemory: resource.MustParse("1Gi")},
		},
		LivenessProbe: probe("/healthz", port), ReadinessProbe: probe("/readyz", port),
		VolumeMounts: []corev1.VolumeMount{
			{Name: tokenVolume().Name, ReadOnly: true, MountPath: "/var/run/secrets/kubernetes.io/serviceaccount"},
		},
		TerminationMessagePath: corev1.TerminationMessagePathDefault, TerminationMessagePolicy: corev1.TerminationMessageReadFile,
		SecurityContext: &corev1.SecurityContext{
			RunAsUser: new(int64(10001)), AllowPrivilegeEscalation: new(false), ReadOnlyRootFilesystem: new(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
	for n := range s.env {
		variable := corev1.EnvVar{Name: fmt.Sprintf("INVENTORY_SETTING_%02d", n), Value: words(1 + n%4)}
		if n%5 == 4 {
			variable.Value, variable.ValueFrom = "", &corev1.EnvVarSource{SecretKeyRef: &corev1.SecretKeySelector{
				LocalObjectReference: corev1.LocalObjectReference{Name: "inventory-credentials"}, Key: fmt.Sprintf("setting-%02d", n),
			}}
		}
		c.Env = append(c.Env, variable)
	}
	for n := range s.volumes {
		c.VolumeMounts = append(c.VolumeMounts, corev1.VolumeMount{Name: fmt.Sprintf("settings-%02d", n), MountPath: fmt.Sprintf("/etc/inventory/%02d", n), ReadOnly: true})
	}
	return c
}

func probe(path string, port int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:   corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Path: path, Port: intstr.FromInt32(port), Scheme: corev1.URISchemeHTTP}},
		TimeoutSeconds: 1, PeriodSeconds: 10, SuccessThreshold: 1, FailureThreshold: 3,
	}
}

func tokenVolume() corev1.Volume {
	mode := int32(420)
	return corev1.Volume{Name: "kube-api-access-7xk2v", VolumeSource: corev1.VolumeSource{Projected: &corev1.ProjectedVolumeSource{
		DefaultMode: &mode,
		Sources: []corev1.VolumeProjection{
			{ServiceAccountToken: &corev1.ServiceAccountTokenProjection{ExpirationSeconds: new(int64(3607)), Path: "token"}},
			{ConfigMap: &corev1.ConfigMapProjection{
				LocalObjectReference: corev1.LocalObjectReference{Name: "kube-root-ca.crt"}, Items: []corev1.KeyToPath{{Key: "ca.crt", Path: "ca.crt"}},
			}},
			{DownwardAPI: &corev1.DownwardAPIProjection{Items: []corev1.DownwardAPIVolumeFile{
				{Path: "namespace", FieldRef: &corev1.ObjectFieldSelector{APIVersion: "v1", FieldPath: "metadata.namespace"}},
			}}},
		},
	}}}
}
