package e2e

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestCompletion: names come from the cluster, of the namespace that was typed before;
// by kubectl, too, as it asks a plugin; and without a cluster there are none, at once.
func TestCompletion(t *testing.T) {
	c := apiServer(t)
	namespace := newNamespace(t, c, "complete-", nil)
	mustCreate(t, c, checkedDeployment(namespace))
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"why", "-n", namespace, "dep"}, "deployment/\n:6\n"},
		{[]string{"why", "-n", namespace, "deploy/"}, "deploy/web\n:4\n"},
		{[]string{"enable", "-n", namespace, "po"}, ":6\n"},
		{[]string{"disable", "-n", namespace, "deployment/w"}, "deployment/web\n:4\n"},
		{[]string{"why", "deploy/"}, ":4\n"}, // nothing is in the namespace default
		{[]string{"status", "-n", namespace[:len(namespace)-1]}, namespace + "\n:4\n"},
		{[]string{"why", "-n", "complete-"}, namespace + "\n:4\n"},
	} {
		run := ctl(t, append([]string{"__complete"}, test.args...)...)
		if run.stdout != test.want {
			t.Errorf("%v offers %q, want %q: %s", test.args, run.stdout, test.want, run.stderr)
		}
	}
	if run := ctlAs(t, "/no/such/file", "__complete", "why", "deploy/"); run.stdout != ":4\n" || run.status != 0 {
		t.Errorf("without a cluster it offers %q and ends with %d", run.stdout, run.status)
	}

	folder := t.TempDir()
	script, err := filepath.Abs("../hack/kubectl_complete-pillion")
	if err != nil {
		t.Fatal(err)
	}
	for name, target := range map[string]string{"kubectl-pillion": world.ctlProgram, "kubectl_complete-pillion": script} {
		if err := os.Symlink(target, filepath.Join(folder, name)); err != nil {
			t.Fatal(err)
		}
	}
	command := exec.CommandContext(t.Context(), filepath.Join(folder, "kubectl_complete-pillion"), "why", "-n", namespace, "deploy/")
	command.Env = []string{"KUBECONFIG=" + world.kubeconfig, "PATH=" + folder + ":/usr/bin:/bin"}
	if output, err := command.Output(); err != nil || !strings.HasPrefix(string(output), "deploy/web\n") {
		t.Errorf("kubectl's completion says %q, %v", output, err)
	}
}
