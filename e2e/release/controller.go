package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
)

// Controller is a pillion-controller, running as a process.
type Controller struct {
	// StatusURL is where it serves /readyz, /healthz and /metrics.
	StatusURL string

	process *process
}

// StartController runs program with these arguments, against the API server of the
// kubeconfig file, and waits until it is ready.
func StartController(ctx context.Context, program, kubeconfig string, log io.Writer, arguments ...string) (*Controller, error) {
	ports, err := freePorts()
	if err != nil {
		return nil, err
	}
	port := strconv.Itoa(ports[0])
	p, err := startProcess(ctx, log, program, append(arguments, "--kubeconfig="+kubeconfig, "--host=localhost", "--status-port="+port)...)
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
