package preflight

import (
	"encoding/json"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/pillion-mesh/pillion/injector"
)

// Trial is what became of a pod that opted in and was created as a dry run.
type Trial struct {
	Namespace string
	// Strict says that a failure of the webhook refuses the pod, and so is told.
	Strict bool
	// Pod as it came back; nil where Err says why it was refused.
	Pod *corev1.Pod
	Err error
}

// Outcome sums up a trial.
type Outcome string

// The outcomes of a trial.
const (
	// Works: the pod came back with a sidecar that works, or was refused for what
	// injection put into it.
	Works Outcome = "works"
	// Broken: it came back with a sidecar that another webhook damaged.
	Broken Outcome = "broken"
	// Bare: it came back without a sidecar.
	Bare Outcome = "bare"
	// Guarded: the release's guard refused it, since it came without a sidecar, or with
	// a damaged one.
	Guarded Outcome = "guarded"
	// Denied: the webhook itself refused a pod that asks for nothing special, since
	// another one had changed what it added before.
	Denied Outcome = "denied"
	// Uncalled: the call of the webhook failed, and so the pod was refused.
	Uncalled Outcome = "uncalled"
	// Refused: it was refused for a reason that has nothing to do with injection.
	Refused Outcome = "refused"
)

// Outcome of a trial, with a sentence about a pod that came back.
func (r *Installed) Outcome(t *Trial) (o Outcome, message string) {
	switch {
	case t.Pod == nil && r.guards(t.Err):
		// Before what else its words are about: they name our containers, too.
		return Guarded, ""
	case t.Pod == nil && strings.Contains(t.Err.Error(), `inject.pillion.dev" denied the request`):
		return Denied, ""
	case t.Pod == nil && failedPhase(t) != "":
		return Uncalled, ""
	case t.Pod == nil && namesOurs(t.Err):
		return Works, ""
	case t.Pod == nil:
		return Refused, ""
	}
	// Trials are made where a namespace is this release's, so its labels say nothing more.
	audit, err := r.Audit(t.Pod, injector.Namespace{Name: t.Namespace})
	switch {
	case err != nil:
		return Bare, err.Error()
	case audit.State == injector.Injected || audit.State == injector.Outdated:
		return Works, ""
	case audit.State == injector.Damaged:
		return Broken, audit.Message
	}
	return Bare, audit.Message
}

// Audit tells how a pod stands to the release, be it one that runs or one that came
// back from a dry run.
func (r *Installed) Audit(pod *corev1.Pod, namespace injector.Namespace) (injector.Audit, error) {
	raw, err := json.Marshal(pod)
	if err != nil {
		return injector.Audit{}, fmt.Errorf("reading the pod that came back: %w", err)
	}
	decoded, err := injector.DecodePod(raw)
	if err != nil {
		return injector.Audit{}, fmt.Errorf("reading the pod that came back: %w", err)
	}
	return r.Injector.Audit(injector.Request{Pod: decoded, Namespace: namespace}), nil
}

// guards says whether an error is a refusal by the release's ValidatingAdmissionPolicy.
// Its name is the chart's pillion.clusterName.
func (r *Installed) guards(err error) bool {
	policy := strings.TrimSuffix(r.Name, "-webhook")
	if revision := r.Revision(); revision != "" {
		policy += "." + revision
	}
	return err != nil && strings.Contains(err.Error(), "ValidatingAdmissionPolicy '"+policy+"'")
}
