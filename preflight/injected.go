package preflight

import (
	"encoding/json"
	"fmt"
	"slices"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	corev1 "k8s.io/api/core/v1"

	"github.com/pillion-mesh/pillion/injector"
)

// judged is a workload with the pods that it makes, before and after injection.
type judged struct {
	*Workload
	before, after *corev1.Pod
	result        injector.Result
}

// Inject is what the release makes of a workload's pods in a namespace. The labels of
// the namespace are taken as opted in where they are nil.
func (r *Installed) Inject(f *Facts, w *Workload, namespace injector.Namespace) (*corev1.Pod, injector.Result, error) {
	raw, err := json.Marshal(w.Template)
	if err != nil {
		return nil, injector.Result{}, fmt.Errorf("reading the pods of %s: %w", w, err)
	}
	pod, err := injector.DecodePod(raw)
	if err != nil {
		return nil, injector.Result{}, fmt.Errorf("reading the pods of %s: %w", w, err)
	}
	result := r.Injector.InjectTemplate(&injector.Workload{
		Kind: w.Kind, Name: w.Name, Labels: w.Labels, Annotations: w.Annotations,
		Path: w.Path, Template: pod, Namespace: namespace, Now: f.Now,
	})
	after, err := apply(raw, &result)
	if err != nil {
		return nil, result, fmt.Errorf("injecting the pods of %s: %w", w, err)
	}
	return after, result, nil
}

func apply(raw []byte, result *injector.Result) (*corev1.Pod, error) {
	text, err := injector.AppendPatch(nil, result.Patch)
	if err != nil {
		return nil, err
	}
	patch, err := jsonpatch.DecodePatch(text)
	if err != nil {
		return nil, err
	}
	if raw, err = patch.Apply(raw); err != nil {
		return nil, err
	}
	var pod corev1.Pod
	return &pod, json.Unmarshal(raw, &pod)
}

// ReleaseFor is the one that a namespace belongs to, by its revision alone: it may yet
// have to opt in. It is nil where there is none.
func (f *Facts) ReleaseFor(ns *corev1.Namespace) *Installed {
	for n := range f.Releases.Value {
		r := &f.Releases.Value[n]
		if r.Config == nil || r.Injector == nil || r.excludes(ns.Name) != "" {
			continue
		}
		with := ns.DeepCopy()
		if with.Labels == nil {
			with.Labels = map[string]string{}
		}
		with.Labels[r.Config.OptIn.Label] = r.Config.OptIn.Value
		if r.Claims(with) {
			return r
		}
	}
	return nil
}

// meshed are the workloads that get a sidecar, injected. Where none has opted in yet,
// they are all of them, as if they had: that is what somebody asks before.
func (f *Facts) meshed(ns *Namespace, report *report) []judged {
	r := f.ReleaseFor(&ns.Object)
	switch {
	case r == nil:
		report.add(Unknown, "no release is for this namespace: see the label pillion.dev/revision and excludedNamespaces")
		return nil
	case ns.Workloads.Err != nil:
		report.unseen("the workloads", ns.Workloads.Err)
		return nil
	}
	label, value := r.Config.OptIn.Label, r.Config.OptIn.Value
	var labelled, others []judged
	for n := range ns.Workloads.Value {
		w := ns.Workloads.Value[n]
		given, has := w.Template.Labels[label]
		if !has {
			w.Template = *w.Template.DeepCopy()
			if w.Template.Labels == nil {
				w.Template.Labels = map[string]string{}
			}
			w.Template.Labels[label] = value
		}
		after, result, err := r.Inject(f, &w, injector.Namespace{Name: ns.Object.Name})
		if err != nil {
			report.add(Unknown, "%v", err)
			continue
		}
		if result.Decision.Verdict != injector.Inject && result.Decision.Verdict != injector.Refuse {
			continue
		}
		j := judged{&w, &corev1.Pod{ObjectMeta: w.Template.ObjectMeta, Spec: w.Template.Spec}, after, result}
		switch {
		case !has:
			others = append(others, j)
		case given == value:
			labelled = append(labelled, j)
		}
	}
	if len(labelled) > 0 {
		return labelled
	}
	return others
}

// ours are the containers that injection adds.
func (j *judged) ours() []corev1.Container {
	all := slices.Concat(j.after.Spec.InitContainers, j.after.Spec.Containers)
	return slices.DeleteFunc(all, func(c corev1.Container) bool { return !isOurs(c.Name) })
}

func isOurs(container string) bool {
	return container == injector.InitContainerName || container == injector.SidecarName
}
