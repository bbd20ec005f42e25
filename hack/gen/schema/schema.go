// Package schema makes JSON schemas of Pillion's documents. They say what editors
// and Helm can check: names, types and closed sets. The rest, as what ports may
// collide, is for v1alpha1.Validate.
//
// The keywords mean the same in draft-07 and in draft 2020-12.
package schema

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// InjectorConfig is the schema of a whole document.
func InjectorConfig() (map[string]any, error) { return Of(v1alpha1.Fields()) }

// InjectorValues is the schema of an InjectorConfig inside of a chart's values,
// where apiVersion and kind are left out.
func InjectorValues() (map[string]any, error) {
	var list []v1alpha1.Field
	for _, f := range v1alpha1.Fields() {
		if f.Path != "apiVersion" && f.Path != "kind" {
			list = append(list, f)
		}
	}
	return Of(list)
}

// Of is the schema of an object with these fields. An object's row stands before
// those of its fields.
func Of(list []v1alpha1.Field) (map[string]any, error) {
	b := builder{objects: map[string]map[string]any{"": object()}}
	for _, f := range list {
		if err := b.add(f); err != nil {
			return nil, err
		}
	}
	root := b.objects[""]
	if entry := b.objects["namespaces[]"]; entry != nil {
		top, below := properties(root), properties(entry)
		for _, name := range []string{"sidecar", "redirect", "lifecycle", "envoy"} {
			below[name] = withoutDefaults(top[name])
		}
	}
	return root, nil
}

// builder holds the objects met so far by their paths.
type builder struct {
	objects map[string]map[string]any
}

func (b builder) add(f v1alpha1.Field) error {
	dot := strings.LastIndexByte(f.Path, '.')
	name := f.Path[dot+1:]
	parent := b.objects[f.Path[:max(dot, 0)]]
	if parent == nil {
		return fmt.Errorf("the field %s stands before the object that holds it", f.Path)
	}
	kind, list := strings.CutPrefix(f.Type, v1alpha1.ListOf)
	item, path := scalar(kind), f.Path
	if list {
		path += "[]"
	}
	if kind == "object" {
		item = object()
		b.objects[path] = item
	}
	if f.Enum != nil {
		item = map[string]any{"type": "string", "enum": anys(f.Enum)}
	}
	restrict(item, path)
	property := item
	if list {
		property = map[string]any{"type": "array", "items": item}
	}
	property["description"] = f.Doc
	if f.Default != "" {
		var value any
		if err := json.Unmarshal([]byte(f.Default), &value); err != nil {
			return fmt.Errorf("reading the default of %s: %w", f.Path, err)
		}
		property["default"] = value
	}
	properties(parent)[name] = property
	if f.Required {
		required, _ := parent["required"].([]any)
		parent["required"] = append(required, name)
	}
	return nil
}

func object() map[string]any {
	return map[string]any{"type": "object", "additionalProperties": false, "properties": map[string]any{}}
}

func properties(object map[string]any) map[string]any {
	return object["properties"].(map[string]any)
}

// scalar is the schema of a value that is not an object.
func scalar(kind string) map[string]any {
	switch kind {
	case "integer":
		return map[string]any{"type": "integer", "minimum": 1}
	case "duration":
		return map[string]any{"type": "string", "pattern": durationPattern}
	case "quantity":
		return map[string]any{"oneOf": []any{
			map[string]any{"type": "string", "pattern": v1alpha1.QuantityPattern},
			map[string]any{"type": "number", "exclusiveMinimum": 0},
		}}
	case "ports":
		return map[string]any{"oneOf": []any{
			map[string]any{"type": "string", "pattern": `^[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?$`},
			map[string]any{"type": "integer", "minimum": 1, "maximum": 65535},
		}}
	default:
		return map[string]any{"type": "string", "minLength": 1}
	}
}

// durationPattern is Go's notation without fractions, in whole seconds.
const durationPattern = `^([0-9]+h)?([0-9]+m)?([0-9]+s)?$`

// restrict adds what is known of the value at a path.
func restrict(item map[string]any, path string) {
	switch path {
	case "optIn.label":
		item["pattern"] = `^([a-z0-9]([a-z0-9.-]*[a-z0-9])?/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`
	case "optIn.value":
		item["pattern"] = `^[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?$`
	case "excludedNamespaces[]", "namespaces[].match":
		item["pattern"] = `^[a-z0-9*?-]{1,63}$`
	case "revision":
		item["pattern"] = `^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)?$`
	case "kubernetesVersion":
		item["pattern"] = v1alpha1.VersionPattern
	case "images.init", "images.envoy":
		item["pattern"] = `^[^\s]+$`
	case "identity.uid", "identity.gid":
		item["maximum"] = 1<<31 - 1
	case "ports.inbound", "ports.outbound", "ports.status", "ports.firstProbe":
		item["minimum"], item["maximum"] = v1alpha1.FirstOwnPort, v1alpha1.LastOwnPort
	case "envoy.concurrency":
		item["minimum"] = 0
	case "annotations.allowed[]":
		item["pattern"] = `^[*]$|` + v1alpha1.AnnotationNamePattern
	case "redirect.inbound.reservedPorts[].expires", "redirect.outbound.reservedPorts[].expires":
		item["pattern"] = `^[0-9]{4}-[0-9]{2}-[0-9]{2}$`
	}
}

// withoutDefaults is a copy in which nothing has a default: in namespaces[] what is
// left out is decided by the level below.
func withoutDefaults(value any) any {
	switch v := value.(type) {
	case map[string]any:
		kept := make(map[string]any, len(v))
		for key, item := range v {
			// A field of the name default would be an object; there is none.
			if key != "default" {
				kept[key] = withoutDefaults(item)
			}
		}
		return kept
	case []any:
		kept := make([]any, len(v))
		for i, item := range v {
			kept[i] = withoutDefaults(item)
		}
		return kept
	}
	return value
}

func anys(words []string) []any {
	list := make([]any, len(words))
	for i, word := range words {
		list[i] = word
	}
	return list
}
