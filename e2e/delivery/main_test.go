// Package delivery holds the promises about what becomes of a MeshService in the API server:
// its ConfigMap and its status. etcd, kube-apiserver and the controller are real, with the
// rights that the chart gives it. There are no nodes: pods are objects whose status the tests
// write, and servers of the tests answer for their sidecars.
package delivery

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"testing"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/pillion-mesh/pillion/e2e/controlplane"
)

// world is what all tests share; TestMain sets it and nobody changes it.
var world struct {
	plane *controlplane.ControlPlane
	helm  string
	// library is what the libraries of controllers say beside the controllers' own log.
	library *testLog
}

func TestMain(m *testing.M) {
	world.library = &testLog{to: io.Discard}
	logger := logr.FromSlogHandler(slog.NewTextHandler(world.library, nil))
	ctrllog.SetLogger(logger)
	klog.SetLogger(logger)
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
	world.helm = programs.Helm
	if world.plane, err = controlplane.Start(ctx); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, world.plane.Stop()) }()
	return m.Run(), nil
}
