package webhook

import (
	"fmt"
	"log/slog"
	"net/http"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/injector"
)

const (
	// maxCauses of a refusal are spelled out; the rest are counted.
	maxCauses = 20
	// maxEcho is how much of a text from outside goes into an error or a log
	// line, in bytes: the longest name in Kubernetes.
	maxEcho = 253
)

// answer is what is said about one request. There is either a failure or a
// verdict about request.
type answer struct {
	request *reviewRequest
	verdict verdict
	failure *failure
}

// verdict is what is said about the object of a request.
type verdict interface {
	// response to the request, but for its UID.
	response(request *reviewRequest) reviewResponse
	// count counts it, and tells the outcome that the request's duration is counted
	// under.
	count(m *Metrics, request *reviewRequest) (outcome string)
	// level and line are how it is logged; line adds to the attributes given.
	level() slog.Level
	line(request *reviewRequest, to []slog.Attr) (message string, attributes []slog.Attr)
}

// failure is why a request gets an HTTP error instead of a decision.
type failure struct {
	status int
	reason injector.Reason
	err    error
	// stack of a panic that has not been logged before.
	stack []byte
}

// Error is the line of text that the client gets.
func (f *failure) Error() string { return f.reason.String() + ": " + f.err.Error() }

func badReview(status int, err error) *failure {
	return &failure{status: status, reason: injector.ReasonBadReview, err: err}
}

func overload(err error) *failure {
	return &failure{status: http.StatusServiceUnavailable, reason: injector.ReasonOverload, err: err}
}

// reviewAnswer is an AdmissionReview with a response.
type reviewAnswer struct {
	APIVersion string         `json:"apiVersion"`
	Kind       string         `json:"kind"`
	Response   reviewResponse `json:"response"`
}

type reviewResponse struct {
	UID              string           `json:"uid"`
	Allowed          bool             `json:"allowed"`
	PatchType        string           `json:"patchType,omitzero"`
	Patch            []byte           `json:"patch,omitempty"`
	Warnings         []string         `json:"warnings,omitempty"`
	AuditAnnotations auditAnnotations `json:"auditAnnotations,omitzero"`
	Status           *refusal         `json:"status,omitempty"`
}

// auditAnnotations come into kube-apiserver's audit log with the webhook's name
// before them. kube-apiserver asks again after another webhook changed the pod
// (reinvocationPolicy IfNeeded), and then keeps the first value of a key and
// complains about a different second one. So what is said about a pod that has
// the sidecar already has keys of its own.
type auditAnnotations struct {
	Decision      string `json:"decision,omitzero"`
	Reason        string `json:"reason,omitzero"`
	AgainDecision string `json:"again-decision,omitzero"`
	AgainReason   string `json:"again-reason,omitzero"`
}

// refusal is the part of a metav1.Status that a refused object's owner gets to see.
type refusal struct {
	Status  string         `json:"status"`
	Message string         `json:"message"`
	Reason  string         `json:"reason"`
	Code    int            `json:"code"`
	Details refusalDetails `json:"details"`
}

type refusalDetails struct {
	Name   string  `json:"name,omitzero"`
	Kind   string  `json:"kind"`
	Causes []cause `json:"causes,omitempty"`
}

type cause struct {
	Reason  string `json:"reason"`
	Message string `json:"message"`
	Field   string `json:"field"`
}

// review is the response's JSON for a verdict.
func (a *answer) review() ([]byte, error) {
	response := a.verdict.response(a.request)
	response.UID = a.request.UID
	encoded, err := json.Marshal(&reviewAnswer{reviewAPIVersion, reviewKind, response})
	if err != nil {
		return nil, fmt.Errorf("encoding the response to request %q: %w", a.request.UID, err)
	}
	return encoded, nil
}

func auditOf(decision injector.Decision) auditAnnotations {
	verdict, reason := string(decision.Verdict), decision.Reason.String()
	switch decision.Reason {
	case injector.ReasonAlreadyInjected, injector.ReasonConverged:
		return auditAnnotations{AgainDecision: verdict, AgainReason: reason}
	default:
		return auditAnnotations{Decision: verdict, Reason: reason}
	}
}

// refusalOf says all of an owner's mistakes at once, as validation in
// kube-apiserver does.
func refusalOf(request *reviewRequest, result *injector.Result) *refusal {
	prefix := result.Decision.Reason.String() + ": "
	if len(result.Errors) == 0 {
		prefix += result.Message
	}
	causes := make([]cause, len(result.Errors))
	for n, err := range result.Errors {
		causes[n] = cause{string(err.Type), err.ErrorBody(), err.Field}
	}
	return newRefusal(refusalDetails{Name: request.Name, Kind: "pods"}, prefix, causes)
}

// newRefusal spells the first causes out and counts the rest.
func newRefusal(of refusalDetails, prefix string, causes []cause) *refusal {
	of.Causes = causes[:min(len(causes), maxCauses)]
	var message strings.Builder
	message.WriteString(prefix)
	for n, cause := range of.Causes {
		if n > 0 {
			message.WriteString("; ")
		}
		if cause.Field != "" {
			message.WriteString(cause.Field + ": ")
		}
		message.WriteString(cause.Message)
	}
	if more := len(causes) - len(of.Causes); more > 0 {
		message.WriteString("; and " + strconv.Itoa(more) + " more")
	}
	return &refusal{
		Status: metav1.StatusFailure, Reason: string(metav1.StatusReasonInvalid), Code: http.StatusUnprocessableEntity,
		Message: message.String(), Details: of,
	}
}

// clip shortens a text from outside for an error or a log line.
func clip(s string) string {
	if len(s) <= maxEcho {
		return s
	}
	return strings.ToValidUTF8(s[:maxEcho], "") + "..."
}
