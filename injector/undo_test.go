package injector_test

import (
	"encoding/json"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
)

// TestStatusUndoes holds that an injected pod is the original and exactly what the
// status says was added and changed.
func TestStatusUndoes(t *testing.T) {
	paths, err := filepath.Glob("testdata/cases/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	injected := 0
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			c := readCase(t, archive)
			result, pod := c.inject(t, c.pod)
			if result.Decision.Verdict == injector.Inject {
				injected++
				checkUndo(t, c.pod, pod)
			}
		})
	}
	if injected < 10 {
		t.Fatalf("only %d cases inject", injected)
	}
}

// checkUndo takes away what the status names and compares with the original.
func checkUndo(tb testing.TB, original, injected []byte) {
	tb.Helper()
	got, want := decodeAny(tb, injected).(map[string]any), decodeAny(tb, original).(map[string]any)
	annotations := got["metadata"].(map[string]any)["annotations"].(map[string]any)
	status, err := injector.ParseStatus(annotations[injector.StatusAnnotation].(string))
	if err != nil {
		tb.Fatal(err)
	}
	undo(tb, got, status)
	for _, pod := range []map[string]any{got, want} {
		dropEmpty(pod["metadata"].(map[string]any), "annotations")
		dropStatus(pod)
		dropEmpty(pod["spec"].(map[string]any), "volumes")
		dropEmpty(pod["spec"].(map[string]any), "initContainers")
		if resources, ok := pod["spec"].(map[string]any)["resources"].(map[string]any); ok {
			dropEmpty(resources, "requests")
		}
		for _, c := range pod["spec"].(map[string]any)["containers"].([]any) {
			dropEmpty(c.(map[string]any), "lifecycle")
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		tb.Errorf("undoing the injection does not give the original (-original +undone):\n%s", diff)
	}
}

// dropStatus forgets a status that a manifest carried before: it was replaced.
func dropStatus(pod map[string]any) {
	if annotations, ok := pod["metadata"].(map[string]any)["annotations"].(map[string]any); ok {
		delete(annotations, injector.StatusAnnotation)
		dropEmpty(pod["metadata"].(map[string]any), "annotations")
	}
}

func dropEmpty(object map[string]any, name string) {
	switch v := object[name].(type) {
	case nil:
		delete(object, name)
	case map[string]any:
		if len(v) == 0 {
			delete(object, name)
		}
	case []any:
		if len(v) == 0 {
			delete(object, name)
		}
	}
}

func undo(tb testing.TB, pod map[string]any, status injector.Status) {
	tb.Helper()
	annotations := pod["metadata"].(map[string]any)["annotations"].(map[string]any)
	delete(annotations, injector.StatusAnnotation)
	spec := pod["spec"].(map[string]any)
	for _, added := range status.Added {
		list, name, _ := strings.Cut(added, "/")
		if list == "annotations" {
			delete(annotations, name)
			continue
		}
		items := spec[list].([]any)
		spec[list] = slices.DeleteFunc(items, func(item any) bool { return item.(map[string]any)["name"] == name })
	}
	for _, c := range status.Changed {
		undoChange(tb, pod, c)
	}
}

// undoChange follows a path as spec.containers[app].lifecycle.preStop.
func undoChange(tb testing.TB, pod map[string]any, c injector.Change) {
	tb.Helper()
	at := pod
	path := c.Path
	for {
		name, rest, _ := strings.Cut(path, ".")
		if field, key, ok := strings.Cut(path, "["); ok && len(field) < len(name) {
			key, rest, _ = strings.Cut(key, "]")
			rest = strings.TrimPrefix(rest, ".")
			if list, ok := at[field].([]any); ok {
				n := slices.IndexFunc(list, func(item any) bool { return item.(map[string]any)["name"] == key })
				at, path = list[n].(map[string]any), rest
				continue
			}
			at, name = at[field].(map[string]any), key // a map of strings
		}
		if rest == "" {
			var from any
			if err := unmarshalNumbers(c.From, &from); err != nil {
				tb.Fatal(err)
			}
			if have, err := json.Marshal(at[name]); err != nil || !sameJSON(have, c.To) {
				tb.Errorf("%s is %s, and the status says that it was set to %s", c.Path, have, c.To)
			}
			if at[name] = from; from == nil {
				delete(at, name)
			}
			return
		}
		at, path = at[name].(map[string]any), rest
	}
}

func sameJSON(a, b []byte) bool {
	var x, y any
	return unmarshalNumbers(a, &x) == nil && unmarshalNumbers(b, &y) == nil && cmp.Equal(x, y)
}

// FuzzAnnotation gives an owner's annotation any value: the pod is refused, or is
// the original and exactly our parts; nothing else can come of it.
func FuzzAnnotation(f *testing.F) {
	for n, a := range injector.Annotations() {
		for _, value := range []string{a.Example, "", " ", "\n", "\x00", "'\"", "$(HOME)", "{{.}}", "&a *a", "\u202e", "-1", "65536", "!1", "1,,2", "1e99999999", "--x", "a: b"} {
			f.Add(n, value)
		}
	}
	i, err := injector.New(v1alpha1.DefaultConfig())
	if err != nil {
		f.Fatal(err)
	}
	table := injector.Annotations()
	f.Fuzz(func(t *testing.T, n int, value string) {
		key := "pillion.dev/" + value
		if n >= 0 && n < len(table) {
			key = "pillion.dev/" + table[n].Name
		}
		raw, err := json.Marshal(map[string]any{
			"metadata": map[string]any{"name": "a", "labels": map[string]any{"service-mesh-enabled": "true"}, "annotations": map[string]any{key: value}},
			"spec":     map[string]any{"containers": []any{map[string]any{"name": "a", "image": "a"}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		result, injected := injectWith(t, i, injector.Namespace{Name: "shop"}, raw)
		switch result.Decision.Verdict {
		case injector.Refuse:
			if len(result.Errors) == 0 || len(result.Message) > 1000 {
				t.Errorf("refused with %d errors and a message of %d bytes", len(result.Errors), len(result.Message))
			}
		case injector.Inject:
			checkUndo(t, raw, injected)
			checkCommandLines(t, result.Sidecar)
			again, _ := injectWith(t, i, injector.Namespace{Name: "shop"}, injected)
			if len(again.Patch) != 0 {
				t.Errorf("a second pass changes the pod: %s", describe(again))
			}
		default:
			t.Errorf("a labelled pod was skipped: %s", describe(result))
		}
	})
}
