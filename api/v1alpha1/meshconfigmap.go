package v1alpha1

import "strings"

// MeshServiceDelivery says how a MeshService comes to pods.
type MeshServiceDelivery string

const (
	// MeshServiceConfigMap mounts the ConfigMap that MeshConfigMap names, if it is there.
	MeshServiceConfigMap MeshServiceDelivery = "ConfigMap"
	// MeshServiceOff mounts nothing.
	MeshServiceOff MeshServiceDelivery = "Off"
)

// MeshConfigMapPrefix is before the service's name, so that no ConfigMap of the owner's
// own is met by accident.
const MeshConfigMapPrefix = "pillion-mesh-"

// LongestMeshService is how long a MeshService's name may be: that of its ConfigMap has
// at most 253 characters.
const LongestMeshService = 253 - len(MeshConfigMapPrefix)

// MeshConfigMap is the name of the ConfigMap that carries the MeshService of a service to
// its pods, in their namespace. It is empty for an identity that no MeshService can
// have: one that is no object's name (RFC 1123), as Shop or shop/checkout.
//
// It is asked for each admission, so it does without the regular expressions that
// Kubernetes' own validation is made of.
func MeshConfigMap(service string) string {
	if service == "" || len(service) > LongestMeshService {
		return ""
	}
	for label := range strings.SplitSeq(service, ".") {
		if label == "" || label[0] == '-' || label[len(label)-1] == '-' || strings.ContainsFunc(label, notInName) {
			return ""
		}
	}
	return MeshConfigMapPrefix + service
}

func notInName(c rune) bool { return c != '-' && (c < '0' || c > '9') && (c < 'a' || c > 'z') }
