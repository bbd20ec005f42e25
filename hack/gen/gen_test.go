package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pillion-mesh/pillion/hack/gen/fields"
)

const root = "../.."

func TestGeneratedFilesAreCurrent(t *testing.T) {
	files, err := generate(root)
	if err != nil {
		t.Fatal(err)
	}
	if len(files) == 0 {
		t.Error("nothing is generated")
	}
	for name, want := range files {
		got, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Error(err)
			continue
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s is not current, run go generate ./hack/gen (-want +got):\n%s", name, diff)
		}
	}
}

func TestEveryFieldNeedsAComment(t *testing.T) {
	source, err := os.ReadFile(filepath.Join(root, "api", "v1alpha1", "types.go"))
	if err != nil {
		t.Fatal(err)
	}
	without := bytes.Replace(source, []byte("\t// CPU in cores, as 100m or 2.\n"), nil, 1)
	if _, err := fields.List(without); err == nil {
		t.Error("a field without a comment was taken")
	}
}
