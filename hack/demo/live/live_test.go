package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pillion-mesh/pillion/hack/demo/screen"
)

// The demo checks what it shows and says in an error what is not as promised.
func TestDemoAsPromised(t *testing.T) {
	folder := t.TempDir()
	t.Chdir("../../..")
	program := filepath.Join(folder, "pillion-webhook")
	if output, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, "./cmd/pillion-webhook").CombinedOutput(); err != nil {
		t.Fatalf("building the webhook: %v\n%s", err, output)
	}
	out, err := os.Create(filepath.Join(folder, "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if err := run(t.Context(), screen.New(out), program, filepath.Join(folder, "pod.yaml")); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(out.Name())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		"injected  pod/checkout-", "did you mean pillion.dev/drain-time?",
		"changed   spec.terminationGracePeriodSeconds: 30 -> 80", "+  initContainers:",
		"untouched pod/ledger-", "PIL010 NotOptedIn",
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("the demo does not show %q:\n%s", want, text)
		}
	}
}

func TestFold(t *testing.T) {
	added := strings.Repeat("+x\n", 25)
	for name, test := range map[string]struct{ diff, want string }{
		"long":  {" a\n" + added + " b\n", " a\n" + strings.Repeat("+x\n", 4) + "+   ... 17 more lines ...\n" + strings.Repeat("+x\n", 4) + " b\n"},
		"short": {" a\n" + added[3:] + "-b\n", " a\n" + added[3:] + "-b\n"},
	} {
		if diff := cmp.Diff(test.want, fold(test.diff)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", name, diff)
		}
	}
}
