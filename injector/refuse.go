package injector

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Names of what is added to a pod.
const (
	// InitContainerName is the init container that installs the redirect.
	InitContainerName = "pillion-init"
	// SidecarName is the container that Envoy runs in.
	SidecarName = "envoy"
	// BinVolume carries pillion-proxy from pillion-init to the sidecar.
	BinVolume = "pillion-bin"
	// RunVolume holds the sidecar's own state.
	RunVolume = "pillion-run"
	// MeshVolume is the optional ConfigMap of the service's MeshService.
	MeshVolume = "pillion-mesh"
)

// otherMesh is the mesh that adds a container of this name, or empty.
func otherMesh(container string) string {
	switch container {
	case "istio-proxy", "istio-init", "istio-validation":
		return "Istio"
	case "linkerd-proxy", "linkerd-init", "linkerd-network-validator":
		return "Linkerd"
	case "kuma-sidecar", "kuma-init":
		return "Kuma"
	case "consul-dataplane", "consul-connect-inject-init":
		return "Consul"
	case "osm-init":
		return "Open Service Mesh"
	}
	return ""
}

// refusal is one mistake of the pod's owner.
type refusal struct {
	reason Reason
	err    *field.Error
}

// conflicts are what in the pod cannot be together with a sidecar. The sidecar's
// own containers and volumes, if it has them already, are not looked at.
func (i *Injector) conflicts(v *view) []refusal {
	var found []refusal
	add := func(reason Reason, err *field.Error) { found = append(found, refusal{reason, err}) }
	i.userConflicts(v, add)
	for _, c := range v.containers {
		if mesh := otherMesh(c.Name); mesh != "" {
			add(ReasonOtherMesh, field.Forbidden(c.path().Child("name"), fmt.Sprintf("container %q belongs to %s: a pod can be in one mesh only", c.Name, mesh)))
		}
		if c.Name == InitContainerName || c.Name == SidecarName {
			add(ReasonNameTaken, field.Invalid(c.path().Child("name"), c.Name, "Pillion adds a container of this name; rename yours"))
		}
		for n, port := range c.Ports {
			if own := i.ownPorts; port.Protocol != "UDP" && int32(own.First) <= port.ContainerPort && port.ContainerPort <= int32(own.Last) {
				add(ReasonPortTaken, field.Invalid(c.path().Child("ports").Index(n).Child("containerPort"), port.ContainerPort,
					fmt.Sprintf("ports %s belong to the sidecar; use another one", own)))
			}
		}
	}
	if !v.ours {
		for n, volume := range v.pod.Spec.Volumes {
			if volume.Name == BinVolume || volume.Name == RunVolume || volume.Name == MeshVolume {
				add(ReasonNameTaken, field.Invalid(field.NewPath("spec", "volumes").Index(n).Child("name"), volume.Name, "Pillion adds a volume of this name; rename yours"))
			}
		}
	}
	return found
}

// userConflicts finds containers that run as the proxy: the kernel cannot tell
// their traffic from the proxy's own, so it would bypass Envoy without a word.
func (i *Injector) userConflicts(v *view, add func(Reason, *field.Error)) {
	id := i.config.Identity
	check := func(path *field.Path, sc *PodSecurityContext) {
		if sc == nil {
			return
		}
		if sc.RunAsUser != nil && *sc.RunAsUser == id.UID {
			add(ReasonProxyUser, field.Invalid(path.Child("runAsUser"), *sc.RunAsUser, "this is the proxy's user, whose traffic is never redirected; run as another one"))
		}
		if sc.RunAsGroup != nil && *sc.RunAsGroup == id.GID {
			add(ReasonProxyUser, field.Invalid(path.Child("runAsGroup"), *sc.RunAsGroup, "this is the proxy's group, whose traffic is never redirected; run as another one"))
		}
	}
	check(field.NewPath("spec", "securityContext"), v.pod.Spec.SecurityContext)
	for _, c := range v.containers {
		if c.SecurityContext != nil {
			check(c.path().Child("securityContext"), c.SecurityContext)
		}
	}
}
