package auditor

import (
	"context"
	"fmt"
	"log/slog"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/injector"
)

const (
	// eventLife is how long kube-apiserver keeps an Event unless it was told otherwise.
	// After it a finding that still holds is told again, so that there is always one to read.
	eventLife = time.Hour
	// mostWorkloads are told in one pass. After a long failure there may be thousands; the
	// metrics count all of them at once, and the next passes tell the rest.
	mostWorkloads = 200
	// maxNote is what an Event takes, in bytes.
	maxNote = 1024
)

// teller writes an Event on each workload with flawed pods, once for each state.
type teller struct {
	reader client.Reader
	events events.EventRecorder
	log    *slog.Logger
	now    func() time.Time
	// workloads by the id of a group, while it is flawed.
	workloads map[types.UID]*workload
	// told says when a finding was told last.
	told map[finding]time.Time
}

// finding is that a workload has pods in a state.
type finding struct {
	workload types.UID
	state    injector.State
}

func newTeller(reader client.Reader, recorder events.EventRecorder, log *slog.Logger, now func() time.Time) *teller {
	return &teller{reader: reader, events: recorder, log: log, now: now, workloads: map[types.UID]*workload{}, told: map[finding]time.Time{}}
}

// sentence is what an owner is told of the pods of one workload in one state.
type sentence struct {
	workload *workload
	count    int
	pod      string
	message  string
}

// tell tells what is new in the findings, or has been told an hour ago.
func (t *teller) tell(ctx context.Context, f *findings) {
	t.forget(f)
	sentences := map[finding]*sentence{}
	asked := 0
	for _, g := range f.groups {
		if len(g.flawed) == 0 {
			continue
		}
		if t.workloads[g.id()] == nil {
			if asked++; asked > mostWorkloads {
				continue
			}
			t.workloads[g.id()] = t.workloadOf(ctx, g)
		}
		for _, state := range flawedStates() {
			if count, pod := g.in(state); count > 0 {
				w := t.workloads[g.id()]
				s := sentences[finding{w.uid, state}]
				if s == nil {
					s = &sentence{workload: w, pod: pod, message: g.message[state]}
					sentences[finding{w.uid, state}] = s
				}
				s.count += count
			}
		}
	}
	for found, s := range sentences {
		if at, was := t.told[found]; was && t.now().Sub(at) < eventLife {
			continue
		}
		t.told[found] = t.now()
		t.log.Warn("pods without a sidecar that works", "workload", s.workload.String(), "state", found.state, "pods", s.count, "such as", s.pod)
		t.event(s.workload, corev1.EventTypeWarning, reasonFor(found.state), "Audit", s.String())
	}
	for found := range t.told {
		if sentences[found] == nil {
			delete(t.told, found)
		}
	}
}

// reasonFor is the reason of an Event.
func reasonFor(state injector.State) string {
	if state == injector.Damaged {
		return "SidecarDamaged"
	}
	return "SidecarMissing"
}

// String names how many pods, why, and what to do.
func (s *sentence) String() string {
	return fmt.Sprintf("pods without a sidecar that works: %d, such as %s: %s. Have them made anew: %s", s.count, s.pod, s.message,
		injector.MakeAnew(s.workload.namespace, s.workload.kindOfWorkload(), s.workload.name, s.pod))
}

// kindOfWorkload is empty for a pod that nothing made.
func (w *workload) kindOfWorkload() string {
	if w.kind == "Pod" {
		return ""
	}
	return w.kind
}

func (t *teller) event(w *workload, kind, reason, action, note string) {
	about := &corev1.ObjectReference{APIVersion: w.apiVersion, Kind: w.kind, Namespace: w.namespace, Name: w.name, UID: w.uid}
	t.events.Eventf(about, nil, kind, reason, action, "%s", note[:min(len(note), maxNote)])
}

// forget drops the workloads of groups that are no longer flawed.
func (t *teller) forget(f *findings) {
	current := map[types.UID]bool{}
	for _, g := range f.groups {
		current[g.id()] = true
	}
	for id := range t.workloads {
		if !current[id] {
			delete(t.workloads, id)
		}
	}
}

// workloadOf is what an owner wrote: of a ReplicaSet the Deployment or whatever else
// controls it, of a Job the CronJob; else what made the pods, or the bare pod itself. What
// cannot be read holds up nothing: then it is told on what made the pods.
func (t *teller) workloadOf(ctx context.Context, g *group) *workload {
	made := g.controller
	if made.UID == "" {
		return &workload{"v1", "Pod", g.namespace, g.flawed[0].name, g.flawed[0].uid}
	}
	w := &workload{made.APIVersion, made.Kind, g.namespace, made.Name, made.UID}
	kind, ours := controlled(made)
	if !ours {
		return w
	}
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(kind)
	err := t.reader.Get(ctx, client.ObjectKey{Namespace: g.namespace, Name: made.Name}, object)
	if err != nil && !apierrors.IsNotFound(err) {
		t.log.Warn("it is not known who controls a workload", "workload", w.String(), "error", err)
	}
	if owner := metav1.GetControllerOf(object); err == nil && object.UID == made.UID && owner != nil {
		return &workload{owner.APIVersion, owner.Kind, g.namespace, owner.Name, owner.UID}
	}
	return w
}

// controlled is what to read of something that another workload may control. Whoever may
// create pods writes what they like into ownerReferences: only Kubernetes' own kinds are asked
// for, in a version that every kube-apiserver has.
func controlled(made metav1.OwnerReference) (kind schema.GroupVersionKind, ok bool) {
	group, _, _ := strings.Cut(made.APIVersion, "/")
	switch (schema.GroupKind{Group: group, Kind: made.Kind}) {
	case schema.GroupKind{Group: "apps", Kind: "ReplicaSet"}, schema.GroupKind{Group: "batch", Kind: "Job"}:
		return schema.GroupVersionKind{Group: group, Version: "v1", Kind: made.Kind}, true
	}
	return kind, false
}
