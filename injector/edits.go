package injector

import (
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"gomodules.xyz/jsonpatch/v2"
)

// edits collects the operations on one pod, and the record of them.
type edits struct {
	patch   []jsonpatch.Operation
	added   []string
	changed []Change
}

func (e *edits) add(path string, value jsontext.Value) {
	e.patch = append(e.patch, jsonpatch.Operation{Operation: "add", Path: path, Value: value})
}

func (e *edits) replace(path string, value jsontext.Value) {
	e.patch = append(e.patch, jsonpatch.Operation{Operation: "replace", Path: path, Value: value})
}

func (e *edits) remove(path string) {
	e.patch = append(e.patch, jsonpatch.Operation{Operation: "remove", Path: path})
}

// record notes a change outside the sidecar, whether or not this pass has to make it.
func (e *edits) record(path string, from, to jsontext.Value) {
	e.changed = append(e.changed, Change{path, from, to})
}

// null is what Change.From says where there was nothing.
func null() jsontext.Value { return jsontext.Value("null") }

// escape makes a key a part of a JSON pointer.
func escape(key string) string {
	return strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
}

// array is a JSON array of rendered values.
func array(values ...jsontext.Value) jsontext.Value {
	size := 2
	for _, v := range values {
		size += len(v) + 1
	}
	out := append(make(jsontext.Value, 0, size), '[')
	for n, v := range values {
		if n > 0 {
			out = append(out, ',')
		}
		out = append(out, v...)
	}
	return append(out, ']')
}
