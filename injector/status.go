package injector

// StatusAnnotation carries a Status as JSON on every injected pod.
const StatusAnnotation = "pillion.dev/status"

// Status is what the status annotation says: who injected the pod, what was
// added, and what was changed from which value, so that it can be shown, undone
// and recognised by a second pass.
type Status struct {
	// Version of the injector.
	Version string `json:"version"`
	// Config is the hash of the configuration.
	Config string `json:"config"`
	// Plan is the hash of what was added, so that a second pass knows whether its
	// own containers are still the right ones.
	Plan string `json:"plan"`
	// Mode of the sidecar and why.
	Mode       string `json:"mode"`
	ModeReason string `json:"modeReason,omitempty"`
	// Service is the identity of the service.
	Service string `json:"service,omitempty"`
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
	// From is the old value as JSON, null where there was none.
	From any `json:"from"`
	// To is the new value as JSON.
	To any `json:"to"`
}
