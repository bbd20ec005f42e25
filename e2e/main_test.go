// Package e2e holds the promises that are about kube-apiserver, Helm and the webhook
// together. All three are real; kube-apiserver and etcd are started once a run.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/e2e/controlplane"
)

// world is what all tests share; TestMain sets it and nobody changes it.
var world struct {
	plane *controlplane.ControlPlane
	// helmProgram, webhookProgram, controllerProgram, ctlProgram and auditLog are paths; kube-apiserver
	// logs there what happens to pods. kubeconfig leads to it with all rights.
	helmProgram, webhookProgram, controllerProgram, ctlProgram, auditLog, kubeconfig string
}

// auditPolicy makes kube-apiserver log the creation of pods.
const auditPolicy = `{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
	"rules": [{"level": "Metadata", "verbs": ["create"], "resources": [{"resources": ["pods"]}]}, {"level": "None"}]}`

func TestMain(m *testing.M) {
	status, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		status = 1
	}
	os.Exit(status)
}

func run(m *testing.M) (status int, err error) {
	ctx := context.Background()
	programs, err := controlplane.Find(ctx)
	if err != nil {
		return 1, err
	}
	folder, err := os.MkdirTemp("", "pillion-e2e-")
	if err != nil {
		return 1, fmt.Errorf("making a folder for our programs and the audit log: %w", err)
	}
	defer os.RemoveAll(folder)
	build := exec.CommandContext(ctx, "go", "build", "-o", folder+string(filepath.Separator), "../cmd/pillion-webhook", "../cmd/pillion-controller", "../cmd/pillionctl")
	if output, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("building our programs: %w\n%s", err, output)
	}
	policy, auditLog := filepath.Join(folder, "audit-policy.json"), filepath.Join(folder, "audit.log")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return 1, fmt.Errorf("writing the audit policy: %w", err)
	}
	plane, err := controlplane.Start(ctx, controlplane.Flag{Name: "audit-policy-file", Value: policy}, controlplane.Flag{Name: "audit-log-path", Value: auditLog})
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, plane.Stop()) }()
	world.plane, world.helmProgram, world.auditLog = plane, programs.Helm, auditLog
	world.ctlProgram, world.kubeconfig = filepath.Join(folder, "pillionctl"), filepath.Join(folder, "kubeconfig")
	if err := writeKubeconfig(plane.Config, world.kubeconfig); err != nil {
		return 1, err
	}
	world.webhookProgram, world.controllerProgram = filepath.Join(folder, "pillion-webhook"), filepath.Join(folder, "pillion-controller")
	return m.Run(), nil
}

// noteInputs looks at what other programs read for a test (Helm the chart, the
// compiler the webhook), so that Go's test cache knows of it: else a changed chart
// would pass with the result of the one before. Go takes no note before m.Run.
func noteInputs(t *testing.T) {
	t.Helper()
	for _, folder := range []string{chartFolder, "../webhook", "../controller", "../cmd/pillion-webhook", "../cmd/pillion-controller", "../cmd/pillionctl", "../preflight", "../go.sum"} {
		err := filepath.WalkDir(folder, func(path string, _ os.DirEntry, err error) error {
			if err == nil {
				_, err = os.Stat(path)
			}
			return err
		})
		if err != nil {
			t.Fatalf("looking at the inputs of the test: %v", err)
		}
	}
}

// apiServer is a client with all rights. What kube-apiserver warns of goes to
// warnings, where there is one.
func apiServer(t *testing.T, warnings ...rest.WarningHandlerWithContext) client.Client {
	t.Helper()
	config := rest.CopyConfig(world.plane.Config)
	config.WarningHandlerWithContext = rest.NoWarnings{}
	for _, handler := range warnings {
		config.WarningHandlerWithContext = handler
	}
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}
