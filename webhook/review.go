package webhook

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
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
	UID         string         `json:"uid"`
	Kind        reviewGVK      `json:"kind"`
	SubResource string         `json:"subResource"`
	Name        string         `json:"name"`
	Namespace   string         `json:"namespace"`
	Operation   string         `json:"operation"`
	DryRun      bool           `json:"dryRun"`
	Object      reviewedObject `json:"object"`

	// generateName is the object's.
	generateName string
}

type reviewGVK struct {
	Group   string `json:"group"`
	Version string `json:"version"`
	Kind    string `json:"kind"`
}

// shownName is the object's name, or the start of it where kube-apiserver has yet to
// complete it.
func (r *reviewRequest) shownName() string { return cmp.Or(r.Name, r.generateName) }

// reviewedObject is request.object, decoded where it lies: a pod's bytes are needed
// again for the check of the patch, and copying them out first would read the
// largest part of a review twice.
type reviewedObject struct {
	// into is a pointer to what the object is decoded into; nil leaves it unread.
	into any
	// start and end are the offsets of the object in the review, with the colon
	// and the space before it.
	start, end int64
}

// UnmarshalJSONFrom implements json.UnmarshalerFrom.
func (o *reviewedObject) UnmarshalJSONFrom(decoder *jsontext.Decoder) error {
	if o.into == nil {
		return decoder.SkipValue()
	}
	o.start = decoder.InputOffset()
	err := json.UnmarshalDecode(decoder, o.into)
	o.end = decoder.InputOffset()
	return err
}

// raw is the object's JSON within body, from which the review was decoded.
func (o *reviewedObject) raw(body []byte) []byte {
	return bytes.TrimLeft(body[o.start:o.end], ": \t\r\n")
}

// decodeReview reads the single AdmissionReview in body, in one pass, and its object
// into what the pointer points to. Member names given twice, invalid UTF-8, nesting
// beyond 10,000 levels and anything behind the review are errors.
func decodeReview(body []byte, concerns func(*reviewRequest) bool, object any) (*reviewRequest, error) {
	if len(bytes.TrimLeft(body, " \t\r\n")) == 0 {
		return nil, fmt.Errorf("the body is empty; accepted is an %s of %s", reviewKind, reviewAPIVersion)
	}
	request, err := unmarshalReview(body, object)
	if _, mistyped := errors.AsType[*json.SemanticError](err); mistyped {
		// An object of some other kind may contradict the types of those that concern
		// us, which is no fault of the request.
		if other, otherErr := unmarshalReview(body, nil); otherErr == nil && !concerns(other) {
			return other, nil
		}
	}
	return request, err
}

func unmarshalReview(body []byte, object any) (*reviewRequest, error) {
	r := review{Request: &reviewRequest{Object: reviewedObject{into: object}}}
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
