package injector

import (
	"fmt"
	"slices"

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
	// Damaged: another hand changed its sidecar so that it cannot work, or left a part
	// of it: with the redirect and without the proxy the pod has no network.
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
	v := newView(r.Pod)
	if status, damage := v.damaged(); damage != "" {
		return Audit{State: Damaged, Decision: Decision{Inject, ReasonInjected}, Message: damage + "; another webhook changed the pod after the injection", Status: status}
	}
	if v.ours {
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

// damaged is the status of a pod that was injected, and what keeps the sidecar from
// working; "" for nothing that is known.
func (v *view) damaged() (*Status, string) {
	if v.ours {
		return &v.status, v.damage()
	}
	if v.initAt < 0 && v.sidecarAt < 0 {
		return nil, "" // a status alone does no harm: the pod is as without a sidecar
	}
	// One of the containers with a status that can be read is what is left of a
	// sidecar; without one it is somebody else's.
	status, err := ParseStatus(v.pod.Metadata.Annotations[StatusAnnotation])
	switch {
	case err != nil:
		return nil, ""
	case v.sidecarAt < 0:
		return &status, fmt.Sprintf("the container %s is gone and %s is still there: it leads the pod's traffic to a proxy that is not there", SidecarName, InitContainerName)
	default:
		return &status, fmt.Sprintf("the init container %s is gone, which copies the program that %s is started by and leads the pod's traffic to it", InitContainerName, SidecarName)
	}
}

// damage says what keeps the sidecar from working, where all of its containers are
// there.
func (v *view) damage() string {
	switch v.status.Mode {
	case string(v1alpha1.ModeNative):
		return v.damageOfNative()
	case string(v1alpha1.ModeClassic):
		return v.damageOfClassic()
	}
	return ""
}

func (v *view) damageOfNative() string {
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

func (v *view) damageOfClassic() string {
	if v.sidecarIsInit {
		return fmt.Sprintf("the container %s is among the init containers, and a classic sidecar is not", SidecarName)
	}
	// Those that keep running have their network when Envoy is up; those that end before
	// the containers start never do.
	inits := v.pod.Spec.InitContainers
	for n, c := range slices.Backward(inits) {
		if c.RestartPolicy == "Always" {
			continue
		}
		if n == v.initAt {
			return ""
		}
		return fmt.Sprintf("the init container %s is not the last one: %s comes after it, and has no network before %s is started", InitContainerName, shorten(c.Name), SidecarName)
	}
	return fmt.Sprintf("the init container %s has the restartPolicy Always, so that it is started again and again", InitContainerName)
}
