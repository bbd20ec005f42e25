// Package injector decides whether a pod gets a sidecar, resolves which one, and
// builds the edits that add it. It is pure: a pod goes in, a Result comes out.
//
//	Decide -> Resolve -> Build -> edits
//
// A Result's patch is made of hand-built operations on the pod as it came: fields
// that this program has never heard of stay as they are. Everything that is added
// or changed is named in Status, from which a second pass recognises it.
package injector

import (
	"cmp"
	"time"

	"gomodules.xyz/jsonpatch/v2"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Version of the injector, written into the status annotation. The linker sets it.
var Version = "dev"

// Request is one pod to decide on.
type Request struct {
	// Pod is the decoded pod: see DecodePod.
	Pod *Pod
	// Namespace that the pod is created in.
	Namespace Namespace
	// Now is the time that expiry dates are compared with.
	Now time.Time
}

// Namespace is what is known about a pod's namespace. An AdmissionReview carries
// the name alone; the API server has checked the labels by then, with the
// webhook configuration's namespaceSelector.
type Namespace struct {
	Name string
	// Labels of the namespace; nil where they are not known, in which case the
	// namespace's half of the opt-in is taken as given.
	Labels map[string]string
	// PodSecurity is the Pod Security level that the namespace enforces, where it is
	// known though the Labels are not.
	PodSecurity string
}

// podSecurityLabel names the level on a namespace.
const podSecurityLabel = "pod-security.kubernetes.io/enforce"

// podSecurity is the level that is enforced, as far as is known.
func (n Namespace) podSecurity() string { return cmp.Or(n.Labels[podSecurityLabel], n.PodSecurity) }

// Verdict is what happens with a pod.
type Verdict string

// The three verdicts.
const (
	// Inject: the pod gets a sidecar, or has ours already and is brought up to date.
	Inject Verdict = "inject"
	// Skip: the pod is admitted as it is.
	Skip Verdict = "skip"
	// Refuse: the pod's owner made a mistake that would break its traffic.
	Refuse Verdict = "refuse"
)

// Decision is a verdict with its reason.
type Decision struct {
	Verdict Verdict
	Reason  Reason
}

// Warning is something that the pod's owner should know. The most useful come
// first in a Result.
type Warning struct {
	Reason  Reason
	Message string
}

// Result is everything that is to be said about one pod.
type Result struct {
	Decision Decision
	// Message says the decision in one sentence about this pod.
	Message string
	// Errors are why the pod is refused; empty otherwise.
	Errors field.ErrorList
	// Patch turns the pod into the injected one; empty where nothing changes.
	Patch []jsonpatch.Operation
	// Warnings for the owner, the most useful first.
	Warnings []Warning
	// Sidecar is what was resolved; nil where the decision came before that.
	Sidecar *Sidecar
	// Status is what the status annotation says; nil where there is none.
	Status *Status
}
