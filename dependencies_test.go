package pillion_test

import (
	"flag"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write the lists of dependencies anew")

// TestDependencies holds what the programs that run in every pod are made of, beside
// the standard library: a new line is something to decide, not something to find later.
func TestDependencies(t *testing.T) {
	packages := list(t)
	for _, program := range []string{"pillion-init", "pillion-proxy"} {
		at := slices.IndexFunc(packages, func(p pkg) bool { return p.ImportPath == "./cmd/"+program })
		if at < 0 {
			t.Fatalf("there is no ./cmd/%s", program)
		}
		var deps []string
		for _, path := range packages[at].Deps {
			if strings.HasPrefix(path, "./") || strings.Contains(folder(path), ".") {
				deps = append(deps, path)
			}
		}
		slices.Sort(deps)
		got, golden := strings.Join(deps, "\n")+"\n", "testdata/dependencies/"+program+".txt"
		if *update {
			if err := os.WriteFile(golden, []byte(got), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if diff := cmp.Diff(string(want), got); err != nil || diff != "" {
			t.Errorf("%s: %v; want -, got +\n%s", program, err, diff)
		}
	}
}
