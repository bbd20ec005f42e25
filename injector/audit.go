package injector

import (
	"fmt"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// State is how a pod that exists stands to a configuration.
type State string

// The states of a pod.
const (
	// Injected: it has the sidecar of this version and configuration.
	Injected State = "injected"
	// Outdated: it has the sidecar of another version or configuration.
	Outdated State = "outdated"
	// Damaged: another hand changed its sidecar so that it cannot work.
	Damaged State = "damaged"
	// Missed: it opted in and would get a sidecar now, but has none: it was created
	// while no webhook answered, or before its namespace opted in.
	Missed State = "missed"
	// NotInjected: it has no sidecar, and would get none now.
	NotInjected State = "not-injected"
)

// Audit is what is to be said of a pod that exists.
type Audit struct {
	State State
	// Decision that an admission would come to now.
	Decision Decision
	// Message says the state in one sentence about this pod.
	Message string
	// Status is what the pod's annotation says; nil where it has no sidecar of ours.
	Status *Status
}

// Making is what new sidecars are made by: as it is in a pod's Status.
type Making struct {
	// Version of the injector, and the hash of its Config.
	Version, Config string
}

// Making of this injector.
func (i *Injector) Making() Making { return Making{Version, i.hash} }

// Audit tells how a pod that exists stands to this configuration. Its namespace's
// labels have to be known, or every labelled pod is taken to be meant.
func (i *Injector) Audit(r Request) Audit { return i.AuditBy(r, i.Making()) }

// AuditBy is Audit where new sidecars are made by another version than this one, as
// by a cluster's webhook: the same configuration has another hash there.
func (i *Injector) AuditBy(r Request, making Making) Audit {
	if v := newView(r.Pod); v.ours {
		if damage := v.damage(); damage != "" {
			return Audit{State: Damaged, Decision: Decision{Inject, ReasonInjected}, Message: damage + "; another webhook changed the pod after the injection", Status: &v.status}
		}
		a := Audit{State: Injected, Decision: Decision{Inject, ReasonInjected}, Message: "it has the sidecar of this version and configuration", Status: &v.status}
		if v.status.Version != making.Version || v.status.Config != making.Config {
			a.State = Outdated
			a.Message = fmt.Sprintf("its sidecar is of version %s with configuration %s; new pods get version %s with configuration %s",
				shorten(v.status.Version), shorten(v.status.Config), shorten(making.Version), shorten(making.Config))
		}
		return a
	}
	result := i.Inject(r)
	if result.Decision.Verdict == Skip {
		return Audit{State: NotInjected, Decision: result.Decision, Message: result.Message}
	}
	return Audit{
		State: Missed, Decision: result.Decision,
		Message: "it opted in and has no sidecar: it was created while no webhook answered, or before its namespace opted in",
	}
}

// damage says what keeps the sidecar from working, in a pod that has one; "" for
// nothing that is known.
func (v *view) damage() string {
	if v.status.Mode != string(v1alpha1.ModeNative) {
		return ""
	}
	if !v.sidecarIsInit {
		return fmt.Sprintf("the container %s is not among the init containers, where a native sidecar is", SidecarName)
	}
	if policy := v.pod.Spec.InitContainers[v.sidecarAt].RestartPolicy; policy != "Always" {
		return fmt.Sprintf("the init container %s has the restartPolicy %q and not Always, so that the pod waits for its end", SidecarName, policy)
	}
	if v.initAt > v.sidecarAt {
		return fmt.Sprintf("the init container %s comes after %s, which is started from what it copies", InitContainerName, SidecarName)
	}
	return ""
}
