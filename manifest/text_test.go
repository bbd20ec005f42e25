package manifest

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	k8syaml "sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write what the cases in testdata get now into them")

// TestCases runs each file in testdata: its "patch" is applied to every pod in its
// "input", which gives its "want", or its "error".
func TestCases(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("there are no cases: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			files := map[string]string{}
			for _, f := range archive.Files {
				files[f.Name] = string(f.Data)
			}
			got := map[string]string{}
			text, err := edited(t, files["input"], files["patch"])
			if err != nil {
				got["error"] = err.Error() + "\n"
			} else {
				got["want"] = text
				got["diff"] = Diff("input", "want", files["input"], text)
			}
			if *update {
				rewrite(t, path, archive, got)
				return
			}
			for _, name := range []string{"want", "error", "diff"} {
				// A case says its result as the whole text or as a diff.
				if other := map[string]string{"want": "diff", "diff": "want"}[name]; files[other] != "" {
					continue
				}
				if diff := cmp.Diff(files[name], got[name]); diff != "" {
					t.Errorf("%s (-want +got):\n%s", name, diff)
				}
			}
		})
	}
}

// rewrite puts what a case gets into its file: a diff where there was one, or else
// the whole text.
func rewrite(t *testing.T, path string, archive *txtar.Archive, got map[string]string) {
	t.Helper()
	result := "want"
	var kept []txtar.File
	for _, f := range archive.Files {
		switch f.Name {
		case "diff":
			result = "diff"
		case "input", "patch":
			kept = append(kept, f)
		}
	}
	if _, failed := got["error"]; failed {
		result = "error"
	}
	kept = append(kept, txtar.File{Name: result, Data: []byte(got[result])})
	archive.Files = kept
	if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// edited applies a patch to every pod of an input, and holds what is true of every
// edit: what kubectl reads from the result is what the patch makes of what it reads
// from the input.
func edited(t *testing.T, input, patch string) (string, error) {
	t.Helper()
	stream, err := Read("input", []byte(input))
	if err != nil {
		return "", err
	}
	if text, err := stream.Text(); err != nil || text != input {
		t.Errorf("without a patch the text is not as it was (%v):\n%s", err, cmp.Diff(input, text))
	}
	pods := 0
	for _, object := range stream.Objects() {
		for _, pod := range object.Pods {
			pods++
			if err := pod.Edit([]byte(patch)); err != nil {
				t.Fatal(err)
			}
		}
	}
	if pods == 0 {
		return "", errors.New("no pod was found")
	}
	text, err := stream.Text()
	if err != nil {
		return "", err
	}
	after, err := Read("output", []byte(text))
	if err != nil {
		t.Fatalf("the result cannot be read: %v\n%s", err, text)
	}
	for n, doc := range stream.Documents() {
		want, err := doc.JSON()
		if err != nil {
			t.Fatal(err)
		}
		got, err := k8syaml.YAMLToJSON([]byte(after.Documents()[n].text))
		if err != nil || !sameJSON(got, want) {
			t.Errorf("document %d means something else (%v):\nwant %s\ngot  %s", n, err, want, got)
		}
	}
	return text, nil
}
