package node

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// TestDemo: the third part of `make demo`, on a cluster that is there already, shows what
// it promises, and takes away what it brought. It ends with an error where a request
// fails or does not go through both Envoys.
func TestDemo(t *testing.T) {
	demo := filepath.Join(t.TempDir(), "demo-node")
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", demo, "../../hack/demo/node").CombinedOutput(); err != nil {
		t.Fatalf("building the demo: %v\n%s", err, output)
	}
	show := func() ([]byte, error) {
		command := exec.CommandContext(t.Context(), demo, "-kubeconfig", os.Getenv("KUBECONFIG"), "-tag", os.Getenv("PILLION_IMAGES_TAG"), "-for", "40s")
		command.Dir = filepath.Join("..", "..")
		command.Env = append(os.Environ(), "PATH="+filepath.Dir(programs.Kubectl)+":"+os.Getenv("PATH"))
		return command.CombinedOutput()
	}
	// What is there already may be somebody's.
	kubectl(t, "create", "namespace", "pillion-demo")
	if output, err := show(); err == nil || !strings.Contains(string(output), "the cluster has namespace/pillion-demo already") {
		t.Errorf("beside another demo: %v\n%s", err, output)
	}
	kubectl(t, "delete", "namespace", "pillion-demo") // fails where it is gone
	output, err := show()
	if err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	for _, want := range []string{`answered +by pod/checkout-`, `requests +\d{4}, of which 0 failed`, `done removing`} {
		if !regexp.MustCompile(want).Match(output) {
			t.Errorf("the demo does not show %q:\n%s", want, output)
		}
	}
	eventually(t, "nothing of the demo is left", func() bool {
		return !strings.Contains(strings.Join(everything(t), "\n"), "pillion-demo")
	})
}
