package bootstrap

// ReportPath is where a sidecar's status port answers with a Report, as JSON.
const ReportPath = "/status"

// Report is what a pod says of the generations of its service: pillion-proxy answers
// with it, the controller counts it.
type Report struct {
	// Service that the pod belongs to.
	Service string `json:"service"`
	// Running is the version of the generation that Envoy runs; empty for the passthrough.
	Running string `json:"running"`
	// Wanted is the version of the one that the pod was given; empty for none, and for a
	// file that says none.
	Wanted string `json:"wanted"`
	// State is how the two stand to each other.
	State ReportState `json:"state"`
	// Reason of StateRejected and StateRefused, in one sentence: Envoy's own words for the
	// former. While StateApplying, what is waited for.
	Reason string `json:"reason,omitempty"`
}

// ReportState is how what a pod runs stands to what it was given.
type ReportState string

const (
	// StateCurrent runs what it was given.
	StateCurrent ReportState = "Current"
	// StateApplying is on the way to it.
	StateApplying ReportState = "Applying"
	// StateRejected was given something that Envoy did not accept. What ran before runs on.
	StateRejected ReportState = "Rejected"
	// StateRefused was given something that Envoy never got to see: it was cut, changed, older
	// than what runs, or for another service. What ran before runs on.
	StateRefused ReportState = "Refused"
)
