package controlplane

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestAnotherHelmCompilesNoKubernetes: each group of programs is kept by what makes it
// alone.
func TestAnotherHelmCompilesNoKubernetes(t *testing.T) {
	t.Setenv("KUBEBUILDER_ASSETS", "")
	folder := filepath.Join(t.TempDir(), "cluster")
	if err := os.CopyFS(folder, os.DirFS("../../hack/cluster")); err != nil {
		t.Fatal(err)
	}
	before := printed(t, folder)
	for _, test := range []struct {
		module string
		moved  []string
	}{
		{"helm", []string{"helm"}},
		{"helm3", []string{"helm3"}},
		{"etcd", []string{"etcd", "kube-apiserver"}},
		{"kubernetes", []string{"etcd", "kube-apiserver"}},
	} {
		t.Run(test.module, func(t *testing.T) {
			file := filepath.Join(folder, test.module, "go.mod")
			original, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, append(original, "\n// another version\n"...), 0o600); err != nil {
				t.Fatal(err)
			}
			defer func() {
				if err := os.WriteFile(file, original, 0o600); err != nil {
					t.Error(err)
				}
			}()
			after := printed(t, folder)
			var moved []string
			for _, name := range []string{"helm", "helm3", "etcd", "kube-apiserver"} {
				if before[name] == "" {
					t.Errorf("%s is not printed: %v", name, before)
				}
				if before[name] != after[name] {
					moved = append(moved, name)
				}
			}
			if diff := cmp.Diff(test.moved, moved); diff != "" {
				t.Errorf("programs in another folder (-want +got):\n%s", diff)
			}
		})
	}
}

// printed is what hack/cluster/build --print says.
func printed(t *testing.T, folder string) map[string]string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), filepath.Join(folder, "build"), "--print").Output()
	if err != nil {
		t.Fatal(err)
	}
	paths := map[string]string{}
	for line := range strings.Lines(string(output)) {
		name, path, _ := strings.Cut(strings.TrimSpace(line), "=")
		paths[name] = path
	}
	return paths
}
