// Package controlplane starts a real etcd and kube-apiserver on the loopback, from
// the programs that hack/cluster/build makes. There are no controllers and no node:
// a pod is admitted and stored, and never runs; it needs no ServiceAccount, since
// nobody would make one.
package controlplane

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
)

// module is the one whose root has hack/cluster/build.
const module = "github.com/pillion-mesh/pillion"

// patience is how long a start or a stop may take on a machine that is busy.
const patience = 2 * time.Minute

// ControlPlane is a running etcd and kube-apiserver.
type ControlPlane struct {
	// Config is for a client with all rights, and without a throttle.
	Config *rest.Config

	environment *envtest.Environment
	parent      *parent
	// folder is for the launchers and what the programs say.
	folder string
}

// Flag is one of kube-apiserver's, as {"audit-log-path", FILE}.
type Flag struct{ Name, Value string }

// Start starts both, kube-apiserver with these flags beside those that it needs,
// and returns when it answers. Whatever happens, nothing goes on running after an
// error, nor after the end of this process, however it ends.
func Start(ctx context.Context, flags ...Flag) (*ControlPlane, error) {
	programs, err := Find(ctx)
	if err != nil {
		return nil, err
	}
	folder, err := os.MkdirTemp("", "pillion-controlplane-")
	if err != nil {
		return nil, fmt.Errorf("making a folder for the control plane: %w", err)
	}
	c := &ControlPlane{parent: newParent(), folder: folder}
	if err := c.start(programs, flags); err != nil {
		err = fmt.Errorf("starting etcd and kube-apiserver: %w\n%s", err, c.lastWords())
		return nil, errors.Join(err, c.Stop())
	}
	return c, nil
}

func (c *ControlPlane) start(programs Programs, flags []Flag) error {
	c.environment = &envtest.Environment{
		ControlPlaneStartTimeout: patience,
		ControlPlaneStopTimeout:  patience,
	}
	etcd, err := launcher(c.folder, programs.Etcd)
	if err != nil {
		return err
	}
	c.environment.ControlPlane.Etcd = &envtest.Etcd{Path: etcd}
	apiServer := c.environment.ControlPlane.GetAPIServer()
	if apiServer.Path, err = launcher(c.folder, programs.APIServer); err != nil {
		return err
	}
	// Without these it looks for the machine's default route, and does not start where
	// there is no network. The loopback cannot be the endpoint of a Service, so
	// nothing is to write one.
	apiServer.Configure().Set("advertise-address", "127.0.0.1").Set("endpoint-reconciler-type", "none")
	for _, flag := range flags {
		apiServer.Configure().Append(flag.Name, flag.Value)
	}
	c.parent.do(func() { c.Config, err = c.environment.Start() })
	if err != nil {
		return err
	}
	c.Config.QPS = -1
	return nil
}

// lastWords is the end of what each program said.
func (c *ControlPlane) lastWords() string {
	const enough = 2000
	var words strings.Builder
	for _, program := range []string{"etcd", "kube-apiserver"} {
		// One that was not started said nothing.
		if text, err := os.ReadFile(logFile(c.folder, program)); err == nil {
			fmt.Fprintf(&words, "The end of what %s said:\n%s\n", program, text[max(0, len(text)-enough):])
		}
	}
	return words.String()
}

// Stop ends both and forgets what they stored.
func (c *ControlPlane) Stop() error {
	err := c.environment.Stop()
	c.parent.end()
	if err := errors.Join(err, os.RemoveAll(c.folder)); err != nil {
		return fmt.Errorf("stopping etcd and kube-apiserver: %w", err)
	}
	return nil
}

// Programs are paths of programs that are built.
type Programs struct {
	Etcd, APIServer string
	// Helm is Helm 4.
	Helm string
	// Helm3 is Helm 3, which tests alone use: it may not be built.
	Helm3 string
	// Kubectl is part of the node: it may not be built.
	Kubectl string
}

// Find asks hack/cluster/build where the programs are. One that is missing is an
// error, since building it takes minutes that a test should not take by surprise.
func Find(ctx context.Context) (Programs, error) {
	root, err := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Dir}}", module).Output()
	if err != nil {
		return Programs{}, fmt.Errorf("finding the root of module %s: %w", module, err)
	}
	script := filepath.Join(strings.TrimSpace(string(root)), "hack", "cluster", "build")
	output, err := exec.CommandContext(ctx, script, "--print").Output()
	if err != nil {
		return Programs{}, fmt.Errorf("running %s --print: %w", script, err)
	}
	var programs Programs
	into := map[string]*string{"etcd": &programs.Etcd, "kube-apiserver": &programs.APIServer, "helm": &programs.Helm, "helm3": &programs.Helm3, "kubectl": &programs.Kubectl}
	for lines := bufio.NewScanner(bytes.NewReader(output)); lines.Scan(); {
		name, path, _ := strings.Cut(lines.Text(), "=")
		target, wanted := into[name]
		if !wanted {
			continue
		}
		if _, err := os.Stat(path); err != nil && name != "helm3" && name != "kubectl" {
			return Programs{}, fmt.Errorf("%s is not built (%w): run hack/cluster/build, as `make test` does", name, err)
		}
		*target = path
	}
	return programs, nil
}
