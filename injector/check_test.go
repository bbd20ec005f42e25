package injector_test

import (
	"strings"
	"testing"

	"github.com/go-json-experiment/json/jsontext"
	"gomodules.xyz/jsonpatch/v2"

	"github.com/pillion-mesh/pillion/injector"
)

// TestCheckPatch: what the self-check lets pass, kube-apiserver's engine applies;
// what it refuses is what a mistake in this package would look like.
func TestCheckPatch(t *testing.T) {
	pod := `{"metadata":{"annotations":{"a/b~c":"x","q\u0075oted":"y"}},"spec":{"containers":[{"name":"a"},{"name":"b"}]}}`
	add := func(path string) jsonpatch.Operation { return operation("add", path) }
	tests := map[string]struct {
		patch []jsonpatch.Operation
		wrong string // empty: it passes
	}{
		"members and elements":     {[]jsonpatch.Operation{add("/metadata/annotations/new"), add("/spec/containers/0/x"), add("/spec/containers/0"), add("/spec/containers/-"), add("/spec/containers/4")}, ""},
		"escaped names":            {[]jsonpatch.Operation{operation("replace", "/metadata/annotations/a~1b~0c"), operation("remove", "/metadata/annotations/quoted")}, ""},
		"replaced in place":        {[]jsonpatch.Operation{operation("replace", "/spec/containers/1/name"), add("/spec/containers/0")}, ""},
		"no parent":                {[]jsonpatch.Operation{add("/metadata/labels/a")}, `there is no "labels"`},
		"no such element":          {[]jsonpatch.Operation{add("/spec/containers/2/x")}, `there is no "2"`},
		"an index too far":         {[]jsonpatch.Operation{add("/spec/containers/3")}, "has 2 elements"},
		"no index":                 {[]jsonpatch.Operation{add("/spec/containers/first")}, "not an index"},
		"nothing to replace":       {[]jsonpatch.Operation{operation("replace", "/spec/nodeName")}, `there is no "nodeName"`},
		"nothing to remove":        {[]jsonpatch.Operation{operation("remove", "/spec/containers/2")}, "has 2 elements"},
		"removed twice":            {[]jsonpatch.Operation{operation("remove", "/metadata/annotations"), operation("remove", "/metadata/annotations")}, "there is no"},
		"into what has moved":      {[]jsonpatch.Operation{add("/spec/containers/0"), operation("replace", "/spec/containers/0/name")}, "have moved"},
		"into what was written":    {[]jsonpatch.Operation{add("/spec/volumes"), add("/spec/volumes/-")}, "earlier operation wrote"},
		"into a string":            {[]jsonpatch.Operation{add("/spec/containers/0/name/x")}, "neither an object nor an array"},
		"an operation that is not": {[]jsonpatch.Operation{operation("move", "/spec/containers")}, "none of add"},
		"not a pointer":            {[]jsonpatch.Operation{add("spec")}, "not a JSON pointer"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			err := injector.CheckPatch([]byte(pod), test.patch)
			if test.wrong == "" {
				if err != nil {
					t.Fatal(err)
				}
				applyPatch(t, []byte(pod), injector.Result{Patch: test.patch})
			} else if err == nil || !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("got %v, want %q", err, test.wrong)
			}
		})
	}
	if err := injector.CheckPatch([]byte(`{"spec":`), []jsonpatch.Operation{add("/spec/x")}); err == nil {
		t.Error("half a pod passes")
	}
}

func operation(op, path string) jsonpatch.Operation {
	return jsonpatch.Operation{Operation: op, Path: path, Value: jsontext.Value(`"value"`)}
}
