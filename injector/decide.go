package injector

import (
	"fmt"
	"strings"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// alwaysExcluded says whether a namespace holds what a node needs to come up; a mesh
// in it could keep the cluster from healing itself.
func alwaysExcluded(namespace string) bool {
	return namespace == "kube-system" || namespace == "kube-node-lease"
}

// meansNo says whether a value of the opt-in label plainly opts out.
func meansNo(value string) bool {
	switch strings.ToLower(value) {
	case "false", "no", "off", "disabled", "0":
		return true
	}
	return false
}

// mirrorAnnotation marks the API object of a pod that kubelet runs from a file.
const mirrorAnnotation = "kubernetes.io/config.mirror"

// decide looks at what needs no resolving: it returns Inject for a pod that opted
// in and can have a sidecar, Skip with the reason otherwise. The order is that of
// usefulness to the pod's owner: what they wrote comes before what they run in.
func (i *Injector) decide(pod *Pod, ns Namespace) (Decision, string) {
	skip := func(r Reason, format string, args ...any) (Decision, string) {
		return Decision{Skip, r}, fmt.Sprintf(format, args...)
	}
	optIn := i.config.OptIn
	value, labelled := pod.Metadata.Labels[optIn.Label]
	switch {
	case !labelled:
		return skip(ReasonNotOptedIn, "the pod has no label %s", optIn.Label)
	case value == optIn.Value:
	case meansNo(value):
		return skip(ReasonOptedOut, "the pod's label %s is %q", optIn.Label, value)
	default:
		return skip(ReasonLabelValue, "the pod's label %s is %q, and only %q opts in", optIn.Label, value, optIn.Value)
	}
	if decision, message := i.decideOnNamespace(ns); decision.Verdict == Skip {
		return decision, message
	}
	if _, mirror := pod.Metadata.Annotations[mirrorAnnotation]; mirror {
		return skip(ReasonMirrorPod, "the pod has the annotation %s", mirrorAnnotation)
	}
	if pod.Spec.HostNetwork {
		return skip(ReasonHostNetwork, "the pod has spec.hostNetwork: true")
	}
	if where, windows := onWindows(pod); windows {
		return skip(ReasonWindows, "the pod has %s: windows", where)
	}
	return Decision{Inject, ReasonInjected}, ""
}

// decideOnNamespace looks at what a namespace says about all of its pods.
func (i *Injector) decideOnNamespace(ns Namespace) (Decision, string) {
	skip := func(r Reason, format string, args ...any) (Decision, string) {
		return Decision{Skip, r}, fmt.Sprintf(format, args...)
	}
	optIn := i.config.OptIn
	if pattern, excluded := i.excluded(ns.Name); excluded {
		return skip(ReasonExcludedNamespace, "namespace %s is excluded (%s)", ns.Name, pattern)
	}
	if ns.Labels != nil && ns.Labels[optIn.Label] != optIn.Value {
		return skip(ReasonNamespaceNotOptedIn, "namespace %s does not have the label %s=%s", ns.Name, optIn.Label, optIn.Value)
	}
	// A label that is empty is a label too: the selector of a release without a
	// revision asks whether it is there.
	if revision, labelled := ns.Labels[v1alpha1.RevisionLabel]; ns.Labels != nil && (revision != i.config.Revision || labelled && revision == "") {
		return skip(ReasonOtherRevision, "namespace %s is for revision %q (label %s), and this is the configuration of revision %q", ns.Name, revision, v1alpha1.RevisionLabel, i.config.Revision)
	}
	return Decision{Inject, ReasonInjected}, ""
}

// Serves says whether pods of a namespace whose labels are known can get a sidecar of
// this configuration: it opted in, is not excluded, and is of this revision.
func (i *Injector) Serves(ns Namespace) bool {
	decision, _ := i.decideOnNamespace(ns)
	return decision.Verdict != Skip
}

// excluded says whether a namespace is left alone, and by which pattern.
func (i *Injector) excluded(namespace string) (string, bool) {
	if alwaysExcluded(namespace) {
		return namespace, true
	}
	for _, pattern := range i.config.ExcludedNamespaces {
		if v1alpha1.MatchNamespace(pattern, namespace) {
			return pattern, true
		}
	}
	return "", false
}

func onWindows(pod *Pod) (where string, windows bool) {
	if os := pod.Spec.OS; os != nil && os.Name == "windows" {
		return "spec.os.name", true
	}
	if pod.Spec.NodeSelector["kubernetes.io/os"] == "windows" {
		return "spec.nodeSelector[kubernetes.io/os]", true
	}
	return "", false
}
