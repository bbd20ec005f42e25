package e2e

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"os/exec"
	"testing"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"
)

// writeKubeconfig writes a file that leads to the API server of config, as its user.
func writeKubeconfig(config *rest.Config, file string) error {
	err := clientcmd.WriteToFile(api.Config{
		Clusters:       map[string]*api.Cluster{"c": {Server: config.Host, CertificateAuthorityData: config.CAData}},
		AuthInfos:      map[string]*api.AuthInfo{"u": {ClientCertificateData: config.CertData, ClientKeyData: config.KeyData, Token: config.BearerToken}},
		Contexts:       map[string]*api.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, file)
	if err != nil {
		return fmt.Errorf("writing a kubeconfig: %w", err)
	}
	return nil
}

// ctlRun is what pillionctl said and how it ended.
type ctlRun struct {
	status         int
	stdout, stderr string
}

// ctl runs pillionctl against kube-apiserver with all rights.
func ctl(t *testing.T, args ...string) ctlRun {
	t.Helper()
	return ctlAs(t, world.kubeconfig, args...)
}

// ctlAs runs it with the rights of a kubeconfig.
func ctlAs(t *testing.T, kubeconfig string, args ...string) ctlRun {
	t.Helper()
	command := exec.CommandContext(t.Context(), world.ctlProgram, args...)
	command.Env = []string{"KUBECONFIG=" + kubeconfig, "PATH=/nonexistent", "HOME=/nonexistent"}
	var stdout, stderr bytes.Buffer
	command.Stdout, command.Stderr = &stdout, &stderr
	err := command.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return ctlRun{command.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// into reads the run's JSON.
func (r *ctlRun) into(t *testing.T, value any) {
	t.Helper()
	if err := json.Unmarshal([]byte(r.stdout), value); err != nil {
		t.Fatalf("status %d, %v\n%s%s", r.status, err, r.stdout, r.stderr)
	}
}
