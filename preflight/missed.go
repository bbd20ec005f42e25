package preflight

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// WhyMissed is what speaks for one or the other reason why a pod that opted in has no
// sidecar, the most telling first. kube-apiserver itself keeps it in its audit log
// alone, which nobody can read through the API.
func (f *Facts) WhyMissed(r *Installed, ns *corev1.Namespace, pod *corev1.Pod) []string {
	var evidence []string
	created := pod.CreationTimestamp.Time
	if labelled, by := labelledAt(ns, r.Config.OptIn.Label); labelled.After(created) {
		evidence = append(evidence, fmt.Sprintf("the labels of namespace %s were last written %s, after the pod: it may have been no member then (by %s)", ns.Name, stamp(labelled), by))
	}
	for n := range f.Mutating.Value {
		c := &f.Mutating.Value[n]
		if f.isOurs(r, c.Name) && c.CreationTimestamp.After(created) {
			evidence = append(evidence, fmt.Sprintf("MutatingWebhookConfiguration %s was created %s, after the pod: nobody was asked about it", c.Name, stamp(c.CreationTimestamp.Time)))
		}
	}
	if len(evidence) == 0 {
		evidence = append(evidence, fmt.Sprintf("the pod was created %s, when its namespace had opted in and the webhook configuration was there, so it is likely that no webhook answered in time and failurePolicy Ignore let the pod through", stamp(created)))
	}
	return append(evidence, "to be certain, look in kube-apiserver's audit log for the pod's creation: the annotation failed-open.mutation.webhook.admission.k8s.io/... is there where the call failed")
}

// isOurs says whether a configuration has entries that call the release.
func (f *Facts) isOurs(r *Installed, configuration string) bool {
	for _, e := range f.mutating(r) {
		if e.configuration == configuration {
			return true
		}
	}
	return false
}

// labelledAt is when whoever owns a label of a namespace wrote there last. That may
// have been about something else: it is the latest time at which the label came.
func labelledAt(ns *corev1.Namespace, label string) (at time.Time, by string) {
	for _, entry := range ns.ManagedFields {
		if entry.FieldsV1 != nil && entry.Time != nil && strings.Contains(entry.FieldsV1.GetRawString(), `"f:`+label+`"`) && entry.Time.After(at) {
			at, by = entry.Time.Time, entry.Manager
		}
	}
	return at, by
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
