package meshservice

import (
	"fmt"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// tally is what the pods of a service said of a version. Two are compared by ==.
type tally struct {
	version string
	pods    v1alpha1.MeshServicePods
	// unmounted of the unknown were injected without a volume for it.
	unmounted int32
	// rejected, underway and silent are sentences about the first pod of each, by name; of
	// those that are underway, about the first one that waits for something.
	rejected, underway, silent string
}

// count is a function of its arguments alone. Pods are in the order of their names.
func count(version string, pods []pod, answers map[types.UID]*answer) *tally {
	t := &tally{version: version}
	for _, p := range pods {
		t.pods.Total++
		a := answers[p.uid]
		switch {
		case !p.mounts:
			t.pods.Unknown++
			t.unmounted++
		case a == nil || a.status == nil:
			t.pods.Unknown++
			if t.silent == "" {
				t.silent = "pod " + p.name + ": " + silenceOf(a)
			}
		// Whatever it was given: one that refuses something runs something else than what it
		// has been told to.
		case a.status.State == lifecycle.MeshRejected:
			t.pods.Rejected++
			if t.rejected == "" {
				t.rejected = "pod " + p.name + given(a.status.Wanted) + ": " + a.status.Reason
			}
		case a.status.Running != nil && a.status.Running.Version == version:
			t.pods.Current++
		case a.status.Reason != "" && t.underway == "":
			t.underway = "pod " + p.name + ": " + a.status.Reason
		}
	}
	return t
}

func silenceOf(a *answer) string {
	switch {
	case a == nil:
		return "it has no address yet"
	case a.silence == "":
		return "it was not asked yet"
	}
	return a.silence
}

// given names what was rejected, where the pod could read as much.
func given(wanted *lifecycle.MeshGeneration) string {
	if wanted == nil {
		return ""
	}
	return " rejected version " + wanted.Version
}

// condition is Applied: its status, reason and message.
func (t *tally) condition() (status metav1.ConditionStatus, reason, message string) {
	underway := t.pods.Total - t.pods.Current - t.pods.Rejected - t.pods.Unknown
	silent := t.pods.Unknown - t.unmounted
	parts := []string{fmt.Sprintf("%d of %d pods run version %s", t.pods.Current, t.pods.Total, t.version)}
	add := func(n int32, format string, args ...any) {
		if n > 0 {
			parts = append(parts, fmt.Sprintf("%d ", n)+fmt.Sprintf(format, args...))
		}
	}
	add(t.pods.Rejected, "rejected what they were given, and run what they ran before: %s", t.rejected)
	waitsFor := ""
	if t.underway != "" {
		waitsFor = ": " + t.underway
	}
	add(underway, "have yet to take it%s", waitsFor)
	add(silent, "did not say: %s", t.silent)
	add(t.unmounted, "were injected by an older version or configuration and cannot get it: restart them")
	message = strings.Join(parts, "; ")
	switch {
	case t.pods.Rejected > 0:
		// The reason first: it is what `kubectl get` has room for.
		return metav1.ConditionFalse, reasonRejected, t.rejected + "; " + parts[0]
	case t.pods.Total == 0:
		return metav1.ConditionUnknown, reasonNoPods, "no running pod of the service has a sidecar"
	case t.pods.Current == t.pods.Total:
		return metav1.ConditionTrue, reasonAllPods, message
	case underway > 0:
		return metav1.ConditionFalse, reasonUnderway, message
	default:
		return metav1.ConditionUnknown, reasonNoAnswer, message
	}
}
