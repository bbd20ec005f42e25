package lifecycle

import "time"

// MeshState is how a sidecar stands to the MeshService of its service.
type MeshState string

const (
	// MeshPassthrough has none, and passes everything through.
	MeshPassthrough MeshState = "Passthrough"
	// MeshApplying is on the way from what is running to what is wanted, or waits for
	// something on it.
	MeshApplying MeshState = "Applying"
	// MeshApplied runs what is wanted.
	MeshApplied MeshState = "Applied"
	// MeshRejected runs what it ran before: what is wanted was refused, by pillion-proxy or
	// by Envoy. It is tried again when it changes.
	MeshRejected MeshState = "Rejected"
)

// MeshStatusPath is where a sidecar's status port answers with a MeshStatus.
const MeshStatusPath = "/status"

// MeshStatus is the JSON that GET /status on a sidecar's status port answers.
type MeshStatus struct {
	// Running is in force, as a whole; nil for the passthrough.
	Running *MeshGeneration `json:"running"`
	// Wanted is what the pod's folder has; nil for the passthrough, and for a file that
	// cannot be read.
	Wanted *MeshGeneration `json:"wanted"`
	// State is how the two stand to each other.
	State MeshState `json:"state"`
	// Reason says what is waited for, or why it was rejected: a sentence.
	Reason string `json:"reason,omitempty"`
	// Since is when the state or the reason became what it is.
	Since time.Time `json:"since"`
}

// MeshGeneration is what one is known by.
type MeshGeneration struct {
	// Version is the hash of its content.
	Version string `json:"version"`
	// Number is metadata.generation of the MeshService, and Created when that was
	// created, in seconds since 1970.
	Number  int64 `json:"number"`
	Created int64 `json:"created"`
}
