package injector

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// Pod is the part of a pod that decisions are made on. Everything else is skipped
// when decoding and never written, so fields newer than this program survive.
type Pod struct {
	Metadata Metadata `json:"metadata"`
	Spec     PodSpec  `json:"spec"`
}

// Metadata of a Pod.
type Metadata struct {
	Name            string            `json:"name"`
	GenerateName    string            `json:"generateName"`
	Namespace       string            `json:"namespace"`
	Labels          map[string]string `json:"labels"`
	Annotations     map[string]string `json:"annotations"`
	OwnerReferences []OwnerReference  `json:"ownerReferences"`
}

// OwnerReference of a Pod.
type OwnerReference struct {
	Kind       string `json:"kind"`
	Name       string `json:"name"`
	Controller bool   `json:"controller"`
}

// PodSpec of a Pod.
type PodSpec struct {
	Containers                    []Container         `json:"containers"`
	InitContainers                []Container         `json:"initContainers"`
	Volumes                       []Volume            `json:"volumes"`
	RestartPolicy                 string              `json:"restartPolicy"`
	TerminationGracePeriodSeconds *int64              `json:"terminationGracePeriodSeconds"`
	HostNetwork                   bool                `json:"hostNetwork"`
	NodeSelector                  map[string]string   `json:"nodeSelector"`
	OS                            *PodOS              `json:"os"`
	SecurityContext               *PodSecurityContext `json:"securityContext"`
	Resources                     Resources           `json:"resources"`
}

// Resources of a Pod as a whole or of a Container.
type Resources struct {
	// Requests is nil where none are given at all.
	Requests *Quantities `json:"requests"`
	Limits   *Quantities `json:"limits"`
}

// Quantities are as written; nil where not given.
type Quantities struct {
	CPU    jsontext.Value `json:"cpu"`
	Memory jsontext.Value `json:"memory"`
}

// PodOS of a Pod.
type PodOS struct {
	Name string `json:"name"`
}

// PodSecurityContext of a pod or, as far as it has these fields, a container.
type PodSecurityContext struct {
	RunAsUser  *int64 `json:"runAsUser"`
	RunAsGroup *int64 `json:"runAsGroup"`
}

// Volume of a Pod.
type Volume struct {
	Name string `json:"name"`
}

// Container of a Pod, init or not.
type Container struct {
	Name            string              `json:"name"`
	Image           string              `json:"image"`
	Ports           []ContainerPort     `json:"ports"`
	RestartPolicy   string              `json:"restartPolicy"`
	Resources       Resources           `json:"resources"`
	SecurityContext *PodSecurityContext `json:"securityContext"`
	LivenessProbe   *Probe              `json:"livenessProbe"`
	ReadinessProbe  *Probe              `json:"readinessProbe"`
	StartupProbe    *Probe              `json:"startupProbe"`
	Lifecycle       *Lifecycle          `json:"lifecycle"`
}

// ContainerPort of a Container.
type ContainerPort struct {
	Name          string `json:"name"`
	ContainerPort int32  `json:"containerPort"`
	Protocol      string `json:"protocol"`
}

// Lifecycle of a Container.
type Lifecycle struct {
	PreStop *PreStop `json:"preStop"`
}

// PreStop of a Container: whether there is one, and the `sleep` that we may have
// put there.
type PreStop struct {
	Sleep *Sleep `json:"sleep"`
}

// Sleep action of a PreStop.
type Sleep struct {
	Seconds int64 `json:"seconds"`
}

// Probe of a Container: its network actions.
type Probe struct {
	HTTPGet   *NetworkAction `json:"httpGet"`
	TCPSocket *NetworkAction `json:"tcpSocket"`
	GRPC      *NetworkAction `json:"grpc"`
}

// NetworkAction is what the three network actions of a probe have in common.
type NetworkAction struct {
	Port intstr.IntOrString `json:"port"`
	Host string             `json:"host"`
}

// DecodePod reads a pod as kube-apiserver sends it.
func DecodePod(raw []byte) (*Pod, error) {
	var pod Pod
	if err := json.Unmarshal(raw, &pod); err != nil {
		return nil, fmt.Errorf("decoding the pod: %w", err)
	}
	return &pod, nil
}
