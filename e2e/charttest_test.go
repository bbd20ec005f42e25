package e2e

import (
	"errors"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// TestChartTestPod: the pod of `helm test` has a command line that the program takes,
// and asks for the name that the certificate is for. What the program then does is
// tested where it is written; without its volume it gets as far as to miss the CA.
func TestChartTestPod(t *testing.T) {
	for _, file := range valuesFiles(t) {
		t.Run(file.name, func(t *testing.T) {
			rendered := mustRender(t, file.values)
			var pod corev1.Pod
			if len(rendered.Hooks) != 1 {
				t.Fatalf("there are %d hooks, want the test alone", len(rendered.Hooks))
			}
			if err := runtime.DefaultUnstructuredConverter.FromUnstructured(rendered.Hooks[0].Object, &pod); err != nil {
				t.Fatal(err)
			}
			args := pod.Spec.Containers[0].Args
			if name := rendered.Object("Service").GetName() + "." + ownNamespace + ".svc:"; !strings.HasPrefix(args[1], "--address="+name) {
				t.Errorf("it asks %s, want %s", args[1], name)
			}
			output, err := exec.CommandContext(t.Context(), world.webhookProgram, args...).CombinedOutput()
			exit := (*exec.ExitError)(nil)
			if !errors.As(err, &exit) || exit.ExitCode() != 1 || !strings.Contains(string(output), "reading the authorities: open /etc/pillion/ca/ca.crt") {
				t.Errorf("%v: %s", err, output)
			}
		})
	}
}
