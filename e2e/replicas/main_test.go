// Package replicas holds the promises about several replicas of the webhook and
// about pillion-controller: that certificates change, replicas come and go, and no
// pod is missed. kube-apiserver, etcd, Helm and our programs are real.
//
// There is no node here. What a node does for the webhook's pods is done by the
// tests: a balancer stands for kube-proxy (a connection goes to one replica that
// was ready when it was opened, and stays there), and volumes for kubelet (a
// Secret's change reaches each replica's folder at a time of its own, by the same
// swap of links).
package replicas

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/go-logr/logr"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pillion-mesh/pillion/e2e/controlplane"
)

// world is what all tests share; TestMain sets it and nobody changes it.
var world struct {
	plane *controlplane.ControlPlane
	// paths of programs
	helm, webhook, controller string
}

func TestMain(m *testing.M) {
	ctrllog.SetLogger(logr.Discard())
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
	folder, err := os.MkdirTemp("", "pillion-replicas-")
	if err != nil {
		return 1, fmt.Errorf("making a folder for our programs: %w", err)
	}
	defer os.RemoveAll(folder)
	build := exec.CommandContext(ctx, "go", "build", "-o", folder+string(filepath.Separator), "../../cmd/pillion-webhook", "../../cmd/pillion-controller")
	if output, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("building our programs: %w\n%s", err, output)
	}
	world.helm = programs.Helm
	world.webhook, world.controller = filepath.Join(folder, "pillion-webhook"), filepath.Join(folder, "pillion-controller")
	if world.plane, err = controlplane.Start(ctx); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, world.plane.Stop()) }()
	return m.Run(), nil
}
