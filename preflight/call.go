package preflight

import (
	"slices"
	"strings"

	"github.com/pillion-mesh/pillion/injector"
)

// Phase is a step of kube-apiserver's call of a webhook.
type Phase string

// The phases, in their order.
const (
	PhaseDNS     Phase = "DNS"
	PhaseTCP     Phase = "TCP"
	PhaseTLS     Phase = "TLS"
	PhaseHTTP    Phase = "HTTP"
	PhaseTimeout Phase = "time"
)

// PhaseOf reads in kube-apiserver's words which phase of a call failed; empty where
// they are about something else. The words are those of Go's net, crypto/tls and
// net/http, and of kube-apiserver's own resolver of Services.
func PhaseOf(message string) Phase {
	_, message, called := strings.Cut(message, "failed calling webhook")
	if !called {
		return ""
	}
	for _, p := range phaseWords() {
		if slices.ContainsFunc(p.words, func(word string) bool { return strings.Contains(message, word) }) {
			return p.phase
		}
	}
	return PhaseHTTP
}

type phaseWord struct {
	phase Phase
	words []string
}

// phaseWords are looked for in this order. An error of a lookup comes within one of a
// dial; a dial's that took too long is the dial's; and what is neither and took too
// long may have been in any phase.
func phaseWords() []phaseWord {
	return []phaseWord{
		{PhaseDNS, []string{"no such host", "server misbehaving", ": service \"", ": lookup "}},
		{PhaseTLS, []string{"x509:", "tls:", "certificate", "HTTP response to HTTPS client"}},
		{PhaseTCP, []string{"dial tcp", "connection refused", "no route to host", "network is unreachable", "connection reset", "no endpoints available", ": EOF"}},
		{PhaseTimeout, []string{"context deadline exceeded", "Client.Timeout"}},
	}
}

// namesOurs says whether a pod was refused for what injection put into it.
func namesOurs(err error) bool {
	return err != nil && PhaseOf(err.Error()) == "" &&
		(strings.Contains(err.Error(), injector.InitContainerName) || strings.Contains(err.Error(), `"`+injector.SidecarName+`"`))
}

// callFailed is the check of one phase: it passes on what kube-apiserver said. A phase
// holds where a call got beyond it; where none did, nothing is known of it.
func callFailed(phase Phase) func(*Facts, *Installed) []Finding {
	return func(_ *Facts, r *Installed) []Finding {
		report := report{subject: r.String()}
		beyond, before := false, Phase("")
		for n := range r.Trials {
			t := &r.Trials[n]
			failed := failedPhase(t)
			outcome, _ := r.Outcome(t)
			switch {
			case failed == phase:
				report.problem("kube-apiserver could not have a pod injected in namespace %s: %v", t.Namespace, t.Err)
				return report.findings
			case outcome == Works, outcome == Broken, outcome == Denied, failed != "" && order(failed) > order(phase):
				beyond = true
			case failed != "":
				before = failed
			}
		}
		switch {
		case beyond:
		case before != "":
			report.add(Unknown, "no call got as far: the phase %s fails before", before)
		default:
			report.add(Unknown, "no pod was tried that shows it: see %s", callInjects)
		}
		return report.findings
	}
}

// order is a phase's place among them. Time may run out in any phase, so of the others
// it says nothing.
func order(p Phase) int {
	return slices.Index([]Phase{PhaseTimeout, PhaseDNS, PhaseTCP, PhaseTLS, PhaseHTTP}, p)
}

func failedPhase(t *Trial) Phase {
	if t.Err == nil {
		return ""
	}
	return PhaseOf(t.Err.Error())
}

const callInjects = "call-injects"

// injects is the sum of all phases: what a dry run came back with.
func injects(_ *Facts, r *Installed) []Finding {
	report := report{subject: r.String()}
	for n := range r.Trials {
		t := &r.Trials[n]
		switch outcome, message := r.Outcome(t); outcome {
		case Works:
		case Broken:
			report.problem("a pod that opted in came back with a sidecar that cannot work in namespace %s: %s", t.Namespace, message)
			report.hint("find the other webhook among `kubectl get mutatingwebhookconfigurations`, and keep it from the pods with the label %s", optInLabel(r))
		case Guarded:
			report.problem("no pod that opted in can be created in namespace %s, since it comes without a sidecar that works: %v", t.Namespace, t.Err)
			report.hint("the guard only says what it saw: the findings about release and webhook, or another one among `kubectl get mutatingwebhookconfigurations`, are the likely reasons")
		case Denied:
			report.problem("no pod that opted in can be created in namespace %s, since the webhook refuses one that asks for nothing special: %v", t.Namespace, t.Err)
			report.hint("where it is about what Pillion adds, another webhook took only a part of that away: find it among `kubectl get mutatingwebhookconfigurations`, and keep it from the pods with the label %s", optInLabel(r))
		case Bare:
			report.problem("a pod that opted in came back without a sidecar in namespace %s, and without an error: %s", t.Namespace, message)
			report.hint("failurePolicy Ignore hides why: the findings about release, webhook and certificate are the likely reasons; kube-apiserver says it in its own words in a namespace with the labels %s and pillion.dev/strict=true", optInLabel(r))
		case Uncalled:
			report.problem("no pod that opted in can be created in namespace %s, since the call fails in the phase %s", t.Namespace, failedPhase(t))
		case Refused:
			report.add(Unknown, "namespace %s refused the pod that was tried, for a reason of its own: %v", t.Namespace, t.Err)
		}
	}
	if len(r.Trials) == 0 {
		report.add(Unknown, "no pod was tried: no namespace of this release has opted in, or dry runs were not wanted")
	}
	return report.findings
}

func optInLabel(r *Installed) string {
	if r.Config == nil {
		return "of the opt-in"
	}
	return r.Config.OptIn.Label + "=" + r.Config.OptIn.Value
}
