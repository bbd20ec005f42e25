package main

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/manifest"
	"github.com/pillion-mesh/pillion/nearest"
)

// judged is a pod in an object, and what the injector says about it.
type judged struct {
	object    *manifest.Object
	found     *manifest.Pod
	pod       *injector.Pod
	namespace injector.Namespace
	result    injector.Result
	// hints are what only the whole manifest shows.
	hints []string
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
	if found.IsTemplate() && len(pod.Metadata.OwnerReferences) == 0 {
		// A pod that a controller makes says whose it is; a template does not yet.
		pod.Metadata.OwnerReferences = []injector.OwnerReference{{Kind: object.Kind, Name: object.Name, Controller: true}}
	}
	j := judged{object: object, found: found, pod: pod, namespace: l.namespaceOf(object, i), hints: hints(l.config, object, found, pod)}
	j.result = l.injector.Inject(injector.Request{Pod: pod, Namespace: j.namespace, Now: p.now})
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
	return fmt.Errorf("%s: %s: %s: has the wrong type, %s; `kubectl explain` tells the right one", place, object, full, kindOf(wrong.JSONKind))
}

// kindOf names a JSON type as people who write YAML do.
func kindOf(kind jsontext.Kind) string {
	switch kind {
	case '{':
		return "a mapping"
	case '[':
		return "a list"
	case '"':
		return "a text"
	case '0':
		return "a number"
	}
	return "true or false"
}

// hints finds what an owner wrote in the wrong place, or nearly right.
func hints(config *v1alpha1.InjectorConfig, object *manifest.Object, found *manifest.Pod, pod *injector.Pod) []string {
	var hints []string
	label := config.OptIn.Label
	_, labelled := pod.Metadata.Labels[label]
	if found.IsTemplate() {
		if _, above := object.Labels[label]; above && !labelled {
			hints = append(hints, fmt.Sprintf("label %s is in metadata.labels of the %s, where it has no effect; move it to %s.metadata.labels", label, object.Kind, found.Path))
		}
		for _, key := range slices.Sorted(maps.Keys(object.Annotations)) {
			if strings.HasPrefix(key, injector.AnnotationPrefix) {
				hints = append(hints, fmt.Sprintf("annotation %s is in metadata.annotations of the %s, where it has no effect; move it to %s.metadata.annotations", key, object.Kind, found.Path))
			}
		}
	}
	for _, key := range slices.Sorted(maps.Keys(pod.Metadata.Annotations)) {
		if key == label {
			hints = append(hints, fmt.Sprintf("%s is among the annotations, where it has no effect; make it a label", label))
		}
	}
	if !labelled {
		for _, key := range slices.Sorted(maps.Keys(pod.Metadata.Labels)) {
			if _, near := nearest.Name(key, []string{label}); near {
				hints = append(hints, fmt.Sprintf("label %s has no effect; did you mean %s?", key, label))
			}
		}
	}
	return hints
}

// namespaceUnknown says whether the verdict rests on a namespace that was not seen.
func (j *judged) namespaceUnknown() bool {
	return j.namespace.Labels == nil && j.result.Decision.Verdict != injector.Skip
}
