package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestCIIsStrict runs .ci/run itself, with a make that says what it is asked for and
// whether this program would be strict, so that no test skips there unseen.
func TestCIIsStrict(t *testing.T) {
	script, err := os.ReadFile("../../.ci/run")
	if err != nil {
		t.Fatal(err)
	}
	root := t.TempDir()
	for path, text := range map[string]string{
		".ci/run":       string(script),
		"hack/packages": "#!/bin/sh\n",
		"bin/make":      "#!/bin/sh\necho \"$1 CI=$CI\"\n",
	} {
		if err := os.MkdirAll(filepath.Join(root, filepath.Dir(path)), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, path), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	// CI of the environment is not passed on: whoever runs it need not know of it.
	command := exec.CommandContext(t.Context(), filepath.Join(root, ".ci", "run"))
	command.Env = []string{"PATH=" + filepath.Join(root, "bin") + ":" + os.Getenv("PATH")}
	said, err := command.CombinedOutput()
	if diff := cmp.Diff("test CI=true\ne2e CI=true\n", string(said)); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	ci := func(name string) string { return map[string]string{"CI": "true"}[name] }
	if !strict(0, ci) || strict(1000, ci) || strict(0, func(string) string { return "" }) {
		t.Error("strict is as root with CI set, and only then")
	}
}
