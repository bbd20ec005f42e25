package meshservice

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// Reasons of conditions. While nothing is stored of what a document says, Applied has the
// reason of Rendered.
const (
	reasonValid        = "Valid"
	reasonInvalid      = "Invalid"
	reasonStored       = "Stored"
	reasonRenderFailed = "RenderFailed"
	reasonTooLarge     = "TooLarge"
	reasonNameTaken    = "NameTaken"
	reasonContested    = "Contested"
	reasonStoreFailed  = "StoreFailed"
	reasonAllPods      = "AllPods"
	reasonNoPods       = "NoPods"
	reasonUnderway     = "Underway"
	reasonRejected     = "Rejected"
	reasonNoAnswer     = "NoAnswer"
	reasonNotAsked     = "NotAskedYet"
)

// maxMessage bounds a condition's message, in bytes. kube-apiserver takes 32 KiB; people read
// less.
const maxMessage = 4096

// statusOf is the status of a document as it is. What cannot be read is taken for none, and
// written anew.
func statusOf(document *unstructured.Unstructured) *v1alpha1.MeshServiceStatus {
	var read struct {
		Status v1alpha1.MeshServiceStatus `json:"status"`
	}
	raw, err := json.Marshal(map[string]any{"status": document.Object["status"]})
	if err == nil {
		err = json.Unmarshal(raw, &read)
	}
	if err != nil {
		return &v1alpha1.MeshServiceStatus{}
	}
	return &read.Status
}

// status is what it should be, given what it was and what was found.
func (k *Keeper) status(document *unstructured.Unstructured, before *v1alpha1.MeshServiceStatus, v verdict) *v1alpha1.MeshServiceStatus {
	after := before.DeepCopy()
	after.ObservedGeneration = document.GetGeneration()
	after.Warnings = v.warnings
	if v.version != "" && v.failed == nil {
		after.Version = v.version
	}
	set := func(kind string, status metav1.ConditionStatus, reason, message string) {
		meta.SetStatusCondition(&after.Conditions, metav1.Condition{
			Type: kind, Status: status, Reason: reason, Message: shorten(message, maxMessage), ObservedGeneration: document.GetGeneration(),
		})
	}
	missing := "" // why the pods cannot have what this generation says
	if v.problems != nil {
		missing = v.problems.Error() + "; " + inForce(after, nil)
		set(v1alpha1.ConditionAccepted, metav1.ConditionFalse, reasonInvalid, v.problems.Error())
		set(v1alpha1.ConditionRendered, metav1.ConditionFalse, reasonInvalid, "the document is not valid; "+inForce(after, nil))
	} else {
		set(v1alpha1.ConditionAccepted, metav1.ConditionTrue, reasonValid, "the document is valid")
		if v.failed != nil {
			problem := v.failed.Error() + "; " + inForce(after, v.failed)
			// What has the version in force was stored. Where somebody else changes it since, pods run it all the same.
			if v.version == "" || v.version != after.Version || isGone(v.failed) {
				missing = problem
			}
			set(v1alpha1.ConditionRendered, metav1.ConditionFalse, v.reason, problem)
		} else {
			set(v1alpha1.ConditionRendered, metav1.ConditionTrue, reasonStored,
				fmt.Sprintf("version %s, of %d bytes, is in ConfigMap %s", v.version, v.bytes, v1alpha1.MeshConfigMap(document.GetName())))
		}
	}
	k.applied(client.ObjectKeyFromObject(document), before, after, missing, set)
	return after
}

// isGone says whether pods find no ConfigMap, since somebody deletes it again and again.
func isGone(failed error) bool {
	var contested *contestedError
	return errors.As(failed, &contested) && contested.deleted
}

// inForce says what the pods run while there is nothing new for them.
func inForce(status *v1alpha1.MeshServiceStatus, failed error) string {
	if isGone(failed) {
		return "pods pass their traffic through while it is not there"
	}
	if status.Version == "" {
		return "nothing was rendered yet, and pods pass their traffic through"
	}
	return "what was rendered before, version " + status.Version + ", stays in force"
}

// applied says what the pods run. Before they were asked about this version, what was said of
// it stands. missing says why nothing is stored of what the document says now, and is empty
// where it is: else who waits for Applied would be told that pods run what they cannot have.
func (k *Keeper) applied(name types.NamespacedName, before, after *v1alpha1.MeshServiceStatus, missing string, set func(string, metav1.ConditionStatus, string, string)) {
	k.mu.Lock()
	counted := k.services[name].tally
	k.mu.Unlock()
	if counted != nil && counted.version != after.Version {
		counted = nil
	}
	was := meta.FindStatusCondition(before.Conditions, v1alpha1.ConditionApplied)
	switch {
	case counted != nil:
		after.Pods = counted.pods
	case before.Version != after.Version:
		after.Pods = v1alpha1.MeshServicePods{Total: before.Pods.Total, Unknown: before.Pods.Total}
	}
	switch {
	case missing != "":
		reason, message := meta.FindStatusCondition(after.Conditions, v1alpha1.ConditionRendered).Reason, missing
		if counted != nil {
			_, _, said := counted.condition()
			message += "; " + said
		} else if was != nil && strings.HasPrefix(was.Message, message) {
			message = was.Message
		}
		set(v1alpha1.ConditionApplied, metav1.ConditionFalse, reason, message)
	case counted != nil:
		status, reason, message := counted.condition()
		set(v1alpha1.ConditionApplied, status, reason, message)
	case before.Version != after.Version || was == nil || repeats(before.Conditions, was):
		set(v1alpha1.ConditionApplied, metav1.ConditionUnknown, reasonNotAsked, "the pods were not asked about version "+after.Version+" yet")
	}
}

// repeats says whether a condition is False for what the one before it is False for.
func repeats(all []metav1.Condition, c *metav1.Condition) bool {
	earlier := map[string]string{v1alpha1.ConditionRendered: v1alpha1.ConditionAccepted, v1alpha1.ConditionApplied: v1alpha1.ConditionRendered}
	said := meta.FindStatusCondition(all, earlier[c.Type])
	return said != nil && said.Reason == c.Reason
}

// writeStatus writes a status that has changed, and says it in Events.
func (k *Keeper) writeStatus(ctx context.Context, document *unstructured.Unstructured, before, after *v1alpha1.MeshServiceStatus) error {
	if equality.Semantic.DeepEqual(before, after) {
		return nil
	}
	patch, err := statusPatch(after)
	if err != nil {
		return err
	}
	target := newDocument()
	target.SetNamespace(document.GetNamespace())
	target.SetName(document.GetName())
	err = client.IgnoreNotFound(k.client.Status().Patch(ctx, target, client.RawPatch(types.MergePatchType, patch)))
	if err != nil {
		return fmt.Errorf("writing the status of MeshService %s/%s: %w", document.GetNamespace(), document.GetName(), err)
	}
	k.metrics.writes.WithLabelValues(wroteStatus).Inc()
	k.announce(document, before, after)
	return nil
}

// statusPatch names every field: in a merge patch, what is left out stays as it was.
func statusPatch(status *v1alpha1.MeshServiceStatus) ([]byte, error) {
	fields := map[string]any{"observedGeneration": status.ObservedGeneration, "version": nil, "warnings": nil, "pods": map[string]any{
		"total": status.Pods.Total, "current": status.Pods.Current, "rejected": status.Pods.Rejected, "unknown": status.Pods.Unknown,
	}, "conditions": status.Conditions}
	if status.Version != "" {
		fields["version"] = status.Version
	}
	if len(status.Warnings) > 0 {
		fields["warnings"] = status.Warnings
	}
	patch, err := json.Marshal(map[string]any{"status": fields})
	if err != nil {
		return nil, fmt.Errorf("encoding a status: %w", err)
	}
	return patch, nil
}

// announce makes an Event of each condition that has become another one: what went wrong, and
// that it is well again.
func (k *Keeper) announce(document *unstructured.Unstructured, before, after *v1alpha1.MeshServiceStatus) {
	for _, now := range after.Conditions {
		was := meta.FindStatusCondition(before.Conditions, now.Type)
		if was != nil && was.Status == now.Status && was.Reason == now.Reason && (now.Status != metav1.ConditionFalse || was.Message == now.Message) {
			continue
		}
		switch {
		case now.Status == metav1.ConditionFalse && now.Reason != reasonUnderway && !repeats(after.Conditions, &now):
			k.events.Eventf(document, nil, corev1.EventTypeWarning, "Not"+now.Type, now.Type, "%s", shorten(now.Message, maxEvent))
		case now.Status == metav1.ConditionTrue && was != nil && now.Type != v1alpha1.ConditionAccepted:
			k.events.Eventf(document, nil, corev1.EventTypeNormal, now.Type, now.Type, "%s", shorten(now.Message, maxEvent))
		}
	}
}

// maxEvent is how long the API server lets an Event's note be, in bytes.
const maxEvent = 1024

// shorten cuts a text at the end of a character, and says that it did.
func shorten(text string, most int) string {
	const cut = " (and more)"
	if len(text) <= most {
		return text
	}
	return strings.ToValidUTF8(text[:most-len(cut)], "") + cut
}

// stateOf is what the metrics say of a MeshService: the first thing that is wrong.
func stateOf(status *v1alpha1.MeshServiceStatus) string {
	is := func(kind string, value metav1.ConditionStatus, reasons ...string) bool {
		c := meta.FindStatusCondition(status.Conditions, kind)
		return c != nil && c.Status == value && (len(reasons) == 0 || c.Reason == reasons[0])
	}
	switch {
	case is(v1alpha1.ConditionAccepted, metav1.ConditionFalse):
		return stateInvalid
	case is(v1alpha1.ConditionRendered, metav1.ConditionFalse):
		return stateNotRendered
	case is(v1alpha1.ConditionApplied, metav1.ConditionFalse, reasonRejected):
		return stateRejected
	case is(v1alpha1.ConditionApplied, metav1.ConditionTrue):
		return stateApplied
	default:
		return stateUnderway
	}
}

// isForeign says whether somebody else's content is in the ConfigMap.
func isForeign(status *v1alpha1.MeshServiceStatus) bool {
	c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionRendered)
	return c != nil && (c.Reason == reasonNameTaken || c.Reason == reasonContested)
}
