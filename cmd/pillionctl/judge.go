package main

import (
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/manifest"
)

// judged is a pod in an object, and what the injector says about it.
type judged struct {
	object    *manifest.Object
	found     *manifest.Pod
	pod       *injector.Pod
	namespace injector.Namespace
	result    injector.Result
}

// judge asks the injector about every pod, and gives its patch to the manifest.
func (p *program) judge(l *loaded, i *input) ([]judged, error) {
	var all []judged
	for _, stream := range l.streams {
		for _, object := range stream.Objects() {
			for _, found := range object.Pods {
				j, err := p.judgeOne(l, i, object, found)
				if err != nil {
					return nil, findings{err}
				}
				all = append(all, j)
			}
		}
	}
	return all, nil
}

func (p *program) judgeOne(l *loaded, i *input, object *manifest.Object, found *manifest.Pod) (judged, error) {
	pod, err := injector.DecodePod(found.JSON)
	if err != nil {
		return judged{}, wrongType(object, found, err)
	}
	j := judged{object: object, found: found, pod: pod, namespace: l.namespaceOf(object, i)}
	w := injector.Workload{Kind: object.Kind, Name: object.Name, Template: pod, Namespace: j.namespace, Now: p.now}
	if found.IsTemplate() {
		w.Path, w.Labels, w.Annotations = found.Path, object.Labels, object.Annotations
	}
	j.result = l.injector.InjectTemplate(&w)
	j.result.Warnings = append(l.injector.Oversights(&w), j.result.Warnings...)
	patch, err := injector.AppendPatch(nil, j.result.Patch)
	if err != nil {
		return judged{}, fmt.Errorf("%s: %s: %w", object.Place(), found, err)
	}
	return j, found.Edit(patch)
}

// wrongType says where a pod has a value of another type than pods have there.
func wrongType(object *manifest.Object, found *manifest.Pod, err error) error {
	wrong := (*json.SemanticError)(nil)
	if !errors.As(err, &wrong) {
		return fmt.Errorf("%s: %s: %w", object.Place(), found, err)
	}
	var path *field.Path
	for name := range wrong.JSONPointer.Tokens() {
		if n, err := strconv.Atoi(name); err == nil {
			path = path.Index(n)
		} else {
			path = path.Child(name)
		}
	}
	full, place := found.Field(path.String())
	return fmt.Errorf("%s: %s: %s: has the wrong type, %s; `kubectl explain` tells the right one", place, object, full, manifest.KindName(wrong.JSONKind))
}

// namespaceUnknown says whether the verdict rests on a namespace that was not seen.
func (j *judged) namespaceUnknown() bool {
	return j.namespace.Labels == nil && j.result.Decision.Verdict != injector.Skip
}
