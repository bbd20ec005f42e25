package pillion_test

import (
	"os/exec"
	"strings"
	"testing"
)

// TestReproducible builds what goes into each pod from two copies of the source. `make
// reproducible` does the same with nothing shared, which takes minutes.
func TestReproducible(t *testing.T) {
	output, err := exec.CommandContext(t.Context(), "hack/reproducible", "--quick").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	if built := strings.Count(string(output), "pillion"); built < 2 {
		t.Errorf("%d programs were compared:\n%s", built, output)
	}
}
