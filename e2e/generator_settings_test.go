package e2e

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// podSecurity is a pod's security context, now and then with the proxy's own user.
func (g *podGenerator) podSecurity() *corev1.PodSecurityContext {
	return &corev1.PodSecurityContext{
		RunAsUser: maybe(g, 0.4, int64(0), 1000, 15033, 65534), RunAsGroup: maybe(g, 0.2, int64(0), 1000, 15032), RunAsNonRoot: maybe(g, 0.3, true, false),
		FSGroup: maybe(g, 0.3, int64(0), 2000), FSGroupChangePolicy: maybe(g, 0.2, corev1.FSGroupChangeOnRootMismatch, corev1.FSGroupChangeAlways),
		SupplementalGroups: pick(g, nil, []int64{1, 2}), SupplementalGroupsPolicy: maybe(g, 0.1, corev1.SupplementalGroupsPolicyStrict),
		Sysctls:        pick(g, nil, nil, []corev1.Sysctl{{Name: "net.ipv4.ip_unprivileged_port_start", Value: "0"}}),
		SeccompProfile: maybe(g, 0.3, corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault}, corev1.SeccompProfile{Type: corev1.SeccompProfileTypeUnconfined}),
		SELinuxOptions: maybe(g, 0.1, corev1.SELinuxOptions{Level: "s0:c1,c2"}),
	}
}

func (g *podGenerator) security() *corev1.SecurityContext {
	return &corev1.SecurityContext{
		RunAsUser: maybe(g, 0.3, int64(0), 1, 2, 1000, 2000, 65534, 15032, 15033), RunAsNonRoot: maybe(g, 0.3, true, false),
		Privileged: maybe(g, 0.1, true, false), ReadOnlyRootFilesystem: maybe(g, 0.3, true, false), AllowPrivilegeEscalation: maybe(g, 0.3, true, false),
		Capabilities:    maybe(g, 0.3, corev1.Capabilities{Drop: []corev1.Capability{"ALL"}}, corev1.Capabilities{Add: []corev1.Capability{"NET_BIND_SERVICE"}}),
		ProcMount:       maybe(g, 0.1, corev1.DefaultProcMount),
		AppArmorProfile: maybe(g, 0.1, corev1.AppArmorProfile{Type: corev1.AppArmorProfileTypeRuntimeDefault}),
	}
}

func (g *podGenerator) resources() corev1.ResourceRequirements {
	list := func(values ...string) corev1.ResourceList {
		found := corev1.ResourceList{}
		if g.often(0.6) {
			found[corev1.ResourceCPU] = resource.MustParse(pick(g, values[:2]...))
		}
		if g.often(0.6) {
			found[corev1.ResourceMemory] = resource.MustParse(pick(g, values[2:]...))
		}
		return found
	}
	r := corev1.ResourceRequirements{}
	if g.often(0.5) {
		r.Requests = list("10m", "250m", "16Mi", "128Mi")
	}
	if g.often(0.3) {
		r.Limits = list("500m", "4", "256Mi", "2Gi")
	}
	return r
}

func (g *podGenerator) network(s *corev1.PodSpec) {
	s.HostNetwork, s.HostPID, s.HostIPC = g.often(0.05), g.often(0.05), g.often(0.05)
	s.ShareProcessNamespace = maybe(g, 0.2, true, false)
	s.HostUsers = maybe(g, 0.1, true, false)
	s.Hostname, s.Subdomain = pick(g, "", "host"), pick(g, "", "sub")
	s.DNSPolicy = pick(g, "", corev1.DNSDefault, corev1.DNSClusterFirstWithHostNet)
	s.DNSConfig = maybe(g, 0.2, corev1.PodDNSConfig{Nameservers: []string{"192.0.2.1"}, Options: []corev1.PodDNSConfigOption{{Name: "ndots", Value: new("1")}}})
	s.HostAliases = pick(g, nil, nil, []corev1.HostAlias{{IP: "127.0.0.1", Hostnames: []string{"a.local"}}})
	s.EnableServiceLinks = maybe(g, 0.3, true, false)
	s.SetHostnameAsFQDN = maybe(g, 0.1, true, false)
}

func (g *podGenerator) placement(s *corev1.PodSpec) {
	s.OS = maybe(g, 0.1, corev1.PodOS{Name: corev1.Linux})
	s.NodeSelector = pick(g, nil, map[string]string{"disk": "ssd"}, map[string]string{corev1.LabelOSStable: "linux"})
	s.Tolerations = pick(g, nil, []corev1.Toleration{{Operator: corev1.TolerationOpExists}})
	s.ServiceAccountName, s.AutomountServiceAccountToken = pick(g, "", "robot"), maybe(g, 0.3, true, false)
	s.ImagePullSecrets = pick(g, nil, []corev1.LocalObjectReference{{Name: "pull"}})
	s.SchedulerName = pick(g, "", "other-scheduler")
	s.SchedulingGates = pick(g, nil, nil, []corev1.PodSchedulingGate{{Name: "example.com/gate"}})
	s.ReadinessGates = pick(g, nil, nil, []corev1.PodReadinessGate{{ConditionType: "example.com/ready"}})
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": "shop"}}
	s.TopologySpreadConstraints = pick(g, nil, nil, []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: "zone", WhenUnsatisfiable: corev1.ScheduleAnyway, LabelSelector: selector}})
	s.Affinity = maybe(g, 0.2, corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{
		RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: corev1.LabelHostname, LabelSelector: selector}},
	}})
	if g.often(0.05) {
		s.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{Name: "debug", Image: "d"}}}
	}
	if g.often(0.05) {
		s.Containers[0].ResizePolicy = []corev1.ContainerResizePolicy{{ResourceName: corev1.ResourceCPU, RestartPolicy: corev1.NotRequired}}
	}
	if g.often(0.05) && s.Containers[0].LivenessProbe != nil && s.Containers[0].LivenessProbe.TCPSocket != nil {
		s.Containers[0].LivenessProbe.TCPSocket.Port = intstr.FromInt32(0)
	}
}
