// Package node tests Pillion on a real node: kubelet, containerd, runc, kube-proxy and
// CoreDNS, as hack/cluster/node/up starts them, with the images that `make images`
// makes. It uses kubectl and Helm as people do. `make e2e` runs it.
package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pillion-mesh/pillion/e2e/controlplane"
)

// patience is how long anything may take on a machine that is busy.
const patience = 2 * time.Minute

var programs controlplane.Programs

// TestMain installs the release that the tests share, and removes it.
func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	ctrllog.SetLogger(logr.Discard())
	ctx := context.Background()
	if os.Getenv("PILLION_IMAGES_TAG") == "" || os.Getenv("KUBECONFIG") == "" {
		fmt.Fprintln(os.Stderr, "These tests need a node with Pillion's images, named by KUBECONFIG and PILLION_IMAGES_TAG: run `make e2e`.")
		return 1
	}
	var err error
	if programs, err = controlplane.Find(ctx); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if output, err := helm(ctx, append([]string{"upgrade", "--install", "pillion", chart, "--create-namespace", "--wait", "--timeout", "3m"}, settings()...)...); err != nil {
		fmt.Fprintf(os.Stderr, "installing the release: %v\n%s", err, output)
		return 1
	}
	if err := reached(ctx); err != nil {
		fmt.Fprintf(os.Stderr, "waiting until kube-apiserver reaches the webhook: %v\n", err)
		return 1
	}
	return m.Run()
}

// reached waits until a strict namespace takes a pod: replicas are ready a moment before
// kube-proxy leads to them (docs/limits.md), and a pod of that moment has no sidecar.
func reached(ctx context.Context) error {
	const namespace = `{apiVersion: v1, kind: Namespace, metadata: {name: reached, labels: {service-mesh-enabled: "true", pillion.dev/strict: "true"}}}`
	if _, err := tryKubectl(ctx, namespace, "apply", "-f", "-"); err != nil {
		return err
	}
	var err error
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(200 * time.Millisecond) {
		if _, err = tryKubectl(ctx, strings.ReplaceAll(podOf("asked"), "NS", "reached"), "create", "--dry-run=server", "-f", "-"); err == nil {
			_, err = tryKubectl(ctx, "", "delete", "namespace", "reached", "--wait=false")
			return err
		}
	}
	return err
}

const (
	chart   = "../../charts/pillion"
	release = "pillion" // the namespace as well
)

// settings are the values that a small node and images of one tag need, and times
// that do not make tests wait.
func settings() []string {
	tag := os.Getenv("PILLION_IMAGES_TAG")
	return []string{
		"--set", "webhook.image.tag=" + tag, "--set", "controller.image.tag=" + tag,
		"--set", "injector.images.init=pillion-mesh/pillion-init:" + tag,
		"--set", "webhook.replicas=2", "--set", "webhook.resources.requests.cpu=20m",
		"--set", "injector.sidecar.resources.requests.cpu=20m",
		"--set", "injector.lifecycle.preDrainDelay=6s", "--set", "injector.lifecycle.drainTime=6s",
		"--set", "controller.extraArgs={--settle=5s}",
	}
}

func helm(ctx context.Context, args ...string) (string, error) {
	output, err := exec.CommandContext(ctx, programs.Helm, append([]string{"--namespace", release}, args...)...).CombinedOutput()
	return string(output), err
}

// tryKubectl returns what kubectl says on both channels.
func tryKubectl(ctx context.Context, input string, args ...string) (string, error) {
	command := exec.CommandContext(ctx, programs.Kubectl, args...)
	command.Stdin = strings.NewReader(input)
	output, err := command.CombinedOutput()
	if err != nil {
		err = fmt.Errorf("kubectl %s: %w\n%s", strings.Join(args, " "), err, output)
	}
	return string(output), err
}

func kubectl(t *testing.T, args ...string) string {
	t.Helper()
	output, err := tryKubectl(t.Context(), "", args...)
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// apply applies a manifest with NS for the namespace, and returns what was said.
func apply(t *testing.T, namespace, manifest string) string {
	t.Helper()
	output, err := tryKubectl(t.Context(), strings.ReplaceAll(manifest, "NS", namespace), "apply", "-f", "-")
	if err != nil {
		t.Fatal(err)
	}
	return output
}

// newNamespace makes a namespace with labels, for the length of a test.
func newNamespace(t *testing.T, name string, labels ...string) string {
	t.Helper()
	kubectl(t, "create", "namespace", name)
	t.Cleanup(func() {
		if t.Failed() {
			pods, _ := tryKubectl(context.Background(), "", "-n", name, "get", "pods", "-o", "wide")
			events, _ := tryKubectl(context.Background(), "", "-n", name, "events", "--types=Warning")
			t.Log(pods + events)
		}
		removeNamespace(t, name)
	})
	if len(labels) > 0 {
		kubectl(t, append([]string{"label", "namespace", name}, labels...)...)
	}
	return name
}

// removeNamespace at a test's end, whose context is over, without waiting for its pods.
func removeNamespace(t *testing.T, name string) {
	t.Helper()
	if output, err := tryKubectl(context.Background(), "", "delete", "namespace", name, "--wait=false"); err != nil {
		t.Error(output)
	}
	_, _ = tryKubectl(context.Background(), "", "-n", name, "delete", "pods", "--all", "--force", "--grace-period=0")
}

const optedIn = "service-mesh-enabled=true"

// field is a JSON path of an object.
func field(t *testing.T, namespace, object, path string) string {
	t.Helper()
	return kubectl(t, "-n", namespace, "get", object, "-o", "jsonpath={"+path+"}")
}

func rolledOut(t *testing.T, namespace, object string) {
	t.Helper()
	kubectl(t, "-n", namespace, "rollout", "status", object, "--timeout="+patience.String())
}

// eventually fails the test unless something becomes true in time.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	waitFor(t, patience, what, is)
}

// within is for what is promised in a time of its own, and logs how long it took.
func within(t *testing.T, d time.Duration, what string, is func() bool) {
	t.Helper()
	began := time.Now()
	waitFor(t, d, what, is)
	t.Logf("after %s: %s", time.Since(began).Round(time.Second), what)
}

func waitFor(t *testing.T, d time.Duration, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(d); !is(); time.Sleep(200 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s", d, what)
		}
	}
}

// pillionctl runs the program that was built with the images, and returns what it says
// on both channels with its exit status.
func pillionctl(t *testing.T, args ...string) (output string, code int) {
	t.Helper()
	command := exec.CommandContext(t.Context(), filepath.Join("..", "..", "bin", "images", "programs", runtime.GOARCH, "pillionctl"), args...)
	said, err := command.CombinedOutput()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return string(said), command.ProcessState.ExitCode()
}

// nodeScript runs one of hack/cluster/node's.
func nodeScript(t *testing.T, name string, args ...string) string {
	t.Helper()
	output, err := tryNodeScript(t, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, output)
	}
	return output
}

func tryNodeScript(t *testing.T, name string, args ...string) (string, error) {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), filepath.Join("..", "..", "hack", "cluster", "node", name), args...).CombinedOutput()
	return string(output), err
}
