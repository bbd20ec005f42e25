package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
)

// Controller is a pillion-controller, running as a process.
type Controller struct {
	// StatusURL is where it serves /readyz, /healthz and /metrics.
	StatusURL string

	process *process
}

// StartController runs program with the arguments of the controller's Deployment and
// these beside, against the API server of the kubeconfig file, and waits until it is
// ready.
func (r *Release) StartController(ctx context.Context, program, kubeconfig string, log io.Writer, arguments ...string) (*Controller, error) {
	var deployment appsv1.Deployment
	if err := r.typed("controller", "Deployment", &deployment); err != nil {
		return nil, err
	}
	ports, err := freePorts()
	if err != nil {
		return nil, err
	}
	port := strconv.Itoa(ports[0])
	// Of a flag that is given twice the last one counts.
	all := append(deployment.Spec.Template.Spec.Containers[0].Args, arguments...)
	p, err := startProcess(ctx, log, program, append(all, "--kubeconfig="+kubeconfig, "--host=localhost", "--status-port="+port)...)
	if err != nil {
		return nil, fmt.Errorf("starting the controller: %w", err)
	}
	c := &Controller{"http://localhost:" + port, p}
	if err := p.waitReady(ctx, c.StatusURL); err != nil {
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

// Stop ends the process as kubelet does, and waits for it.
func (c *Controller) Stop() error {
	if err := c.process.stop(); err != nil {
		return fmt.Errorf("stopping the controller: %w", err)
	}
	return nil
}

// Kill ends it as a node that fails does.
func (c *Controller) Kill() error { return c.process.kill() }
