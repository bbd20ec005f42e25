package webhook

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/pillion-mesh/pillion/injector"
)

const (
	reviewAPIVersion = "admission.k8s.io/v1"
	reviewKind       = "AdmissionReview"
	// maxUID is how long request.uid may be, in bytes: it is a UUID, of 36, and
	// it comes back in the response and in the log.
	maxUID = 128
)

// review is the part of an AdmissionReview that an answer depends on. Other
// fields are skipped.
type review struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Request    *reviewRequest `json:"request"`
}

type reviewRequest struct {
	UID         string      `json:"uid"`
	Kind        reviewGVK   `json:"kind"`
	SubResource string      `json:"subResource"`
	Name        string      `json:"name"`
	Namespace   string      `json:"namespace"`
	Operation   string      `json:"operation"`
	DryRun      bool        `json:"dryRun"`
	Object      reviewedPod `json:"object"`
}

type reviewGVK struct {
	Group   string `json:"group"`
	Version string `json:"version"`
	Kind    string `json:"kind"`
}

// isPodCreation says whether the request is one that we have an opinion on.
func (r *reviewRequest) isPodCreation() bool {
	return r.Kind == reviewGVK{Version: "v1", Kind: "Pod"} && r.SubResource == "" && r.Operation == "CREATE"
}

// reviewedPod is request.object, decoded where it lies: its bytes are needed
// again for the check of the patch, and copying them out first would read the
// largest part of a review twice.
type reviewedPod struct {
	pod *injector.Pod
	// start and end are the offsets of the object in the review, with the colon
	// and the space before it.
	start, end int64
	// skip leaves the object unread.
	skip bool
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (p *reviewedPod) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	if p.skip {
		return decoder.SkipValue()
	}
	p.start = decoder.InputOffset()
	err := json.UnmarshalDecode(decoder, &p.pod)
	p.end = decoder.InputOffset()
	return err
}

// raw is the object's JSON within body, from which the review was decoded.
func (p *reviewedPod) raw(body []byte) []byte {
	return bytes.TrimLeft(body[p.start:p.end], ": \t\r\n")
}

// decodeReview reads the single AdmissionReview in body, in one pass. Member
// names given twice, invalid UTF-8, nesting beyond 10,000 levels and anything
// behind the review are errors.
func decodeReview(body []byte) (*reviewRequest, error) {
	if len(bytes.TrimLeft(body, " \t\r\n")) == 0 {
		return nil, fmt.Errorf("the body is empty; accepted is an %s of %s", reviewKind, reviewAPIVersion)
	}
	request, err := unmarshalReview(body, false)
	if _, mistyped := errors.AsType[*json.SemanticError](err); mistyped {
		// An object of some other kind may contradict a pod's types, which is no
		// fault of a request that is not about a pod.
		if other, otherErr := unmarshalReview(body, true); otherErr == nil && !other.isPodCreation() {
			return other, nil
		}
	}
	if err != nil {
		return nil, err
	}
	if request.isPodCreation() && request.Object.pod == nil {
		return nil, errors.New("request.object is missing, in the creation of a Pod")
	}
	return request, nil
}

func unmarshalReview(body []byte, skipObject bool) (*reviewRequest, error) {
	r := review{Request: &reviewRequest{Object: reviewedPod{skip: skipObject}}}
	if err := json.Unmarshal(body, &r); err != nil {
		return nil, fmt.Errorf("decoding the %s: %w", reviewKind, err)
	}
	if r.Kind != reviewKind || r.APIVersion != reviewAPIVersion {
		return nil, fmt.Errorf("the body is a %q of %q; accepted is an %s of %s", clip(r.Kind), clip(r.APIVersion), reviewKind, reviewAPIVersion)
	}
	switch {
	case r.Request == nil || r.Request.UID == "":
		return nil, errors.New("request.uid is missing")
	case len(r.Request.UID) > maxUID:
		return nil, fmt.Errorf("request.uid has %d bytes; accepted are up to %d", len(r.Request.UID), maxUID)
	default:
		return r.Request, nil
	}
}

// podName is the pod's name, or the start of it where kube-apiserver has yet to
// complete it.
func (r *reviewRequest) podName() string {
	if r.Name == "" && r.Object.pod != nil {
		return r.Object.pod.Metadata.GenerateName
	}
	return r.Name
}
