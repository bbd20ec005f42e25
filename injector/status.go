package injector

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// StatusAnnotation carries a Status as JSON on every injected pod.
const StatusAnnotation = AnnotationPrefix + "status"

// Status is what the status annotation says: who injected the pod, what was
// added, and what was changed from which value, so that it can be shown, undone
// and recognised by a second pass.
type Status struct {
	// Version of the injector.
	Version string `json:"version"`
	// Config is the hash of the configuration.
	Config string `json:"config"`
	// Revision of the configuration; empty where there is only one.
	Revision string `json:"revision,omitzero"`
	// Plan is the hash of what was added, so that a second pass knows whether its
	// own containers are still the right ones.
	Plan string `json:"plan"`
	// Mode of the sidecar and why.
	Mode       string `json:"mode"`
	ModeReason string `json:"modeReason"`
	// Service is the identity of the service.
	Service string `json:"service"`
	// Added names what was added, as "initContainers/pillion-init",
	// "volumes/pillion-bin", "annotations/NAME".
	Added []string `json:"added"`
	// Changed is what was changed outside the sidecar.
	Changed []Change `json:"changed,omitempty"`
}

// Change is one value of the pod that was replaced, or set where there was none.
type Change struct {
	// Path is a dotted path with containers by name, as
	// "spec.containers[app].livenessProbe.tcpSocket.port".
	Path string `json:"path"`
	// From is the old value, null where there was none.
	From jsontext.Value `json:"from"`
	// To is the new value.
	To jsontext.Value `json:"to"`
}

// ParseStatus reads a status annotation.
func ParseStatus(annotation string) (Status, error) {
	var s Status
	// Unknown members are let through: a newer replica may have written it.
	if err := json.Unmarshal([]byte(annotation), &s); err != nil {
		return Status{}, fmt.Errorf("reading the annotation %s: %w", StatusAnnotation, err)
	}
	if s.Plan == "" || s.Config == "" || s.Version == "" {
		return Status{}, fmt.Errorf("reading the annotation %s: it lacks version, config or plan", StatusAnnotation)
	}
	return s, nil
}
