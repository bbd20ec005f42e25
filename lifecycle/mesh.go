package lifecycle

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode"
)

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

// MaxMeshStatus bounds the JSON of a MeshStatus, in bytes.
const MaxMeshStatus = 64 << 10

// ParseMeshStatus reads what a pod answered. Whoever owns a pod answers as he likes: its texts
// become one line each, of what a terminal shows and does not obey, and no longer than
// a reason has to be.
func ParseMeshStatus(data []byte) (*MeshStatus, error) {
	const longestReason, longestVersion = 1024, 40
	if len(data) > MaxMeshStatus {
		return nil, fmt.Errorf("the answer has more than %d bytes", MaxMeshStatus)
	}
	var s MeshStatus
	if err := json.Unmarshal(data, &s); err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	s.Reason, s.State = plain(s.Reason, longestReason), MeshState(plain(string(s.State), longestVersion))
	for _, g := range []*MeshGeneration{s.Running, s.Wanted} {
		if g != nil {
			g.Version = plain(g.Version, longestVersion)
		}
	}
	return &s, nil
}

// plain is one line of so many bytes at most, cut at the end of a character.
func plain(text string, most int) string {
	const cut = " (and more)"
	text = strings.Map(func(c rune) rune {
		if !unicode.IsPrint(c) {
			return ' '
		}
		return c
	}, strings.ToValidUTF8(text, "\uFFFD"))
	if text = strings.Join(strings.Fields(text), " "); len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-len(cut)], "") + cut
}
