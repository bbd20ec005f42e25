package manifest

import (
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/tools/txtar"
)

// FuzzEdit: whatever the text is, reading and editing it ends; an edited text can be
// read again, holds as many objects, and what was not edited is as it was.
func FuzzEdit(f *testing.F) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		f.Fatalf("there are no cases: %v", err)
	}
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			f.Fatal(err)
		}
		for _, file := range archive.Files {
			if file.Name == "input" {
				f.Add(string(file.Data))
			}
		}
	}
	const patch = `[{"op":"add","path":"/metadata/annotations","value":{"a":"b"}},
		{"op":"add","path":"/spec/containers/0","value":{"name":"yes"}},
		{"op":"add","path":"/spec/volumes","value":[]}]`
	f.Fuzz(func(t *testing.T, input string) {
		stream, err := Read("fuzz", []byte(input))
		if err != nil {
			return
		}
		if text, err := stream.Text(); err != nil || text != input {
			t.Fatalf("not as it was (%v): %q", err, text)
		}
		for _, object := range stream.Objects() {
			for _, pod := range object.Pods {
				if member(pod.JSON, "spec", "containers").Kind() != '[' || member(pod.JSON, "metadata").Kind() != '{' {
					continue
				}
				if err := pod.Edit([]byte(patch)); err != nil {
					t.Fatal(err)
				}
			}
		}
		text, err := stream.Text()
		if err != nil {
			if !strings.HasPrefix(err.Error(), "fuzz:") {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		after, err := Read("edited", []byte(text))
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, text)
		}
		if len(after.Objects()) != len(stream.Objects()) {
			t.Fatalf("%d objects became %d:\n%s", len(stream.Objects()), len(after.Objects()), text)
		}
	})
}
