package injector

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/pillion-mesh/pillion/nearest"
)

// Workload is an object that pods are made of, as a Deployment, or a bare Pod.
type Workload struct {
	// Kind and Name of the object. The Name may be the start of one that the API
	// server is going to complete.
	Kind, Name string
	// Labels and Annotations of the object itself; those of a bare Pod are its
	// Template's.
	Labels, Annotations map[string]string
	// Path of the template in the object, as "spec.template"; empty for a bare Pod,
	// which is its own template.
	Path      string
	Template  *Pod
	Namespace Namespace
	// Now is the time that expiry dates are compared with.
	Now time.Time
}

// InjectTemplate decides on the pods that a workload makes. The patch in the Result
// is one of the template.
func (i *Injector) InjectTemplate(w *Workload) Result {
	pod := w.Template
	if w.Path != "" && len(pod.Metadata.OwnerReferences) == 0 {
		// A pod that a controller makes says whose it is; a template does not yet.
		owned := *pod
		owned.Metadata.OwnerReferences = []OwnerReference{{Kind: w.Kind, Name: w.Name, Controller: true}}
		pod = &owned
	}
	return i.Inject(Request{Pod: pod, Namespace: w.Namespace, Now: w.Now})
}

// field is the path in the object of a field of the template.
func (w *Workload) field(path string) string {
	if w.Path == "" {
		return path
	}
	return w.Path + "." + path
}

// Review is what the person who writes a workload should know about the pods that
// it will make, the most useful first: what was written in the wrong place, why the
// pods will be refused or get no sidecar, what injection warns of, and what it
// changes outside of the sidecar without having been asked. There is nothing to say
// about a workload that has not opted in, nor about one where all is well.
func (i *Injector) Review(w *Workload) []Warning {
	result := i.InjectTemplate(w)
	warnings := append(i.Oversights(w), result.Warnings...)
	add := func(reason Reason, text string) { warnings = append(warnings, Warning{reason, text}) }
	switch decision := result.Decision; decision.Verdict {
	case Refuse:
		for _, err := range result.Errors {
			add(ReasonPodsRefused, fmt.Sprintf("its pods will be refused: %s: %s", w.field(err.Field), err.ErrorBody()))
		}
	case Skip:
		optIn := i.config.OptIn
		if w.Template.Metadata.Labels[optIn.Label] == optIn.Value && decision.Reason != ReasonAlreadyInjected {
			add(ReasonNoSidecar, "its pods get no sidecar: "+result.Message)
		}
	case Inject:
		warnings = w.addChanges(warnings, result.Status)
	}
	rank(warnings)
	// Whoever applies many objects at once sees the warnings of all in one list.
	for n := range warnings {
		warnings[n].Message = strings.TrimSpace(w.Kind+" "+shorten(w.Name)) + ": " + warnings[n].Message
	}
	return warnings
}

// Oversights are what an owner wrote in the wrong place, or nearly right. Only the
// whole workload shows them: its pods are silent about what is not in them.
func (i *Injector) Oversights(w *Workload) []Warning {
	label, meta := i.config.OptIn.Label, w.Template.Metadata
	var warnings []Warning
	add := func(reason Reason, format string, args ...any) {
		warnings = append(warnings, Warning{reason, fmt.Sprintf(format, args...)})
	}
	if _, labelled := meta.Labels[label]; !labelled {
		labels := w.field("metadata.labels")
		if value, above := w.Labels[label]; above && w.Path != "" && !meansNo(value) {
			add(ReasonLabelMisplaced, "label %s is in metadata.labels of the %s, where it has no effect; move it to %s", label, w.Kind, labels)
		}
		if _, annotated := meta.Annotations[label]; annotated {
			add(ReasonLabelMisplaced, "%s is in %s, where it has no effect; move it to %s", label, w.field("metadata.annotations"), labels)
		} else if _, annotated := w.Annotations[label]; annotated && w.Path != "" {
			add(ReasonLabelMisplaced, "%s is in metadata.annotations of the %s, where it has no effect; move it to %s", label, w.Kind, labels)
		}
		for _, key := range slices.Sorted(maps.Keys(meta.Labels)) {
			if _, near := nearest.Name(key, []string{label}); near {
				add(ReasonLabelNameTypo, "label %s has no effect; did you mean %s?", shorten(key), label)
			}
		}
	}
	if w.Path == "" {
		return warnings
	}
	for _, key := range slices.Sorted(maps.Keys(w.Annotations)) {
		if _, below := meta.Annotations[key]; !below && strings.HasPrefix(key, AnnotationPrefix) {
			add(ReasonAnnotationMisplaced, "annotation %s is in metadata.annotations of the %s, where it has no effect; move it to %s", shorten(key), w.Kind, w.field("metadata.annotations"))
		}
	}
	return warnings
}

// addChanges adds what of a pod's own injection changes without having been asked, to
// the warnings that come with the pod as well. Probes are left out, since they go on
// meaning the same; so is how the pod stops, where its owner wrote that.
func (w *Workload) addChanges(warnings []Warning, status *Status) []Warning {
	var changes []string
	if w.givesSchedule() {
		warnings = slices.DeleteFunc(warnings, func(w Warning) bool { return w.Reason == ReasonGracePeriodRaised })
	} else if hooks := addedHooks(status); hooks != "" {
		// A hook that is added raises the grace period: one matter, so one warning.
		if n := slices.IndexFunc(warnings, func(w Warning) bool { return w.Reason == ReasonGracePeriodRaised }); n >= 0 {
			warnings[n].Message += "; " + hooks
		} else {
			changes = append(changes, hooks)
		}
	}
	for _, c := range status.Changed {
		if strings.HasPrefix(c.Path, "spec.resources.") {
			changes = append(changes, fmt.Sprintf("%s becomes %s", w.field(c.Path), textOf(c.To)))
		}
	}
	if len(changes) > 0 {
		warnings = append(warnings, Warning{ReasonPodChanged, strings.Join(changes, "; ")})
	}
	return warnings
}

// addedHooks tells which containers get a preStop hook; empty where none does.
func addedHooks(status *Status) string {
	var names []string
	var hook PreStop
	for _, c := range status.Changed {
		if name, ok := strings.CutSuffix(c.Path, "].lifecycle.preStop"); ok && json.Unmarshal(c.To, &hook) == nil {
			names = append(names, strings.TrimPrefix(name, "spec.containers["))
		}
	}
	switch len(names) {
	case 0:
		return ""
	case 1:
		return fmt.Sprintf("container %s gets a preStop hook that sleeps %ds", names[0], hook.Sleep.Seconds)
	}
	return fmt.Sprintf("container %s and %d more get a preStop hook that sleeps %ds", names[0], len(names)-1, hook.Sleep.Seconds)
}

// givesSchedule says whether the owner wrote how the pods are to stop.
func (w *Workload) givesSchedule() bool {
	annotations := w.Template.Metadata.Annotations
	return annotations[AnnotationPrefix+"pre-drain-delay"] != "" || annotations[AnnotationPrefix+"drain-time"] != ""
}
