package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strconv"

	appsv1 "k8s.io/api/apps/v1"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// Controller is a pillion-controller, running as a process.
type Controller struct {
	// StatusURL is where it serves /readyz, /healthz and /metrics.
	StatusURL string

	process *process
}

// StartController runs program with the arguments of the controller's Deployment and
// these beside, against the API server of the kubeconfig file, and waits until it is
// ready. What the Deployment mounts is written beside that file.
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
	config, err := r.Config()
	if err != nil {
		return nil, err
	}
	folder := filepath.Dir(kubeconfig)
	if err := writeVolumes(folder, map[string]map[string][]byte{"config": {"config.yaml": config}}); err != nil {
		return nil, err
	}
	// Of a flag that is given twice the last one counts.
	all := slices.Concat(r.arguments(deployment.Spec.Template.Spec.Containers[0], folder), arguments)
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

// WriteKubeconfig writes a file that leads to the API server of config, as the
// controller's ServiceAccount: with the rights that the chart gives it and no others.
func (r *Release) WriteKubeconfig(ctx context.Context, config *rest.Config, file string) error {
	return r.WriteKubeconfigOf(ctx, "controller", config, file)
}

// WriteKubeconfigOf writes one for the ServiceAccount of a component.
func (r *Release) WriteKubeconfigOf(ctx context.Context, component string, config *rest.Config, file string) error {
	c, err := client.New(config, client.Options{})
	if err != nil {
		return fmt.Errorf("preparing the API client: %w", err)
	}
	account, token := &corev1.ServiceAccount{}, &authenticationv1.TokenRequest{}
	account.Namespace, account.Name = r.Namespace, r.Of(component, "ServiceAccount").GetName()
	if err := c.SubResource("token").Create(ctx, account, token); err != nil {
		return fmt.Errorf("asking for a token of ServiceAccount %s: %w", account.Name, err)
	}
	return clientcmd.WriteToFile(api.Config{
		Clusters:       map[string]*api.Cluster{"c": {Server: config.Host, CertificateAuthorityData: config.CAData}},
		AuthInfos:      map[string]*api.AuthInfo{"u": {Token: token.Status.Token}},
		Contexts:       map[string]*api.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, file)
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
