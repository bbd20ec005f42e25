// Package helm holds the promises about Helm 3, Helm 4 and tools that apply what they
// render: installing, upgrading, rolling back and uninstalling, other hands on the same
// objects, and several releases in one cluster. Both Helms, kube-apiserver and our
// programs are real. There is no node, so nobody waits for a Deployment.
package helm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/e2e/controlplane"
)

const chartFolder = "../../charts/pillion"

// world is what all tests share; TestMain sets it and nobody changes it.
var world struct {
	plane *controlplane.ControlPlane
	helms []program
	// paths of programs, and of the log of deletions
	webhook, controller, auditLog string
}

// auditPolicy makes kube-apiserver log every deletion.
const auditPolicy = `{"apiVersion": "audit.k8s.io/v1", "kind": "Policy", "omitStages": ["RequestReceived"],
	"rules": [{"level": "Metadata", "verbs": ["delete"]}, {"level": "None"}]}`

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
	world.helms = []program{{"Helm4", programs.Helm}, {"Helm3", programs.Helm3}}
	folder, err := os.MkdirTemp("", "pillion-helm-")
	if err != nil {
		return 1, fmt.Errorf("making a folder for our programs and the audit log: %w", err)
	}
	defer os.RemoveAll(folder)
	build := exec.CommandContext(ctx, "go", "build", "-o", folder+string(filepath.Separator), "../../cmd/pillion-webhook", "../../cmd/pillion-controller")
	if output, err := build.CombinedOutput(); err != nil {
		return 1, fmt.Errorf("building our programs: %w\n%s", err, output)
	}
	world.webhook, world.controller = filepath.Join(folder, "pillion-webhook"), filepath.Join(folder, "pillion-controller")
	policy := filepath.Join(folder, "audit-policy.json")
	if err := os.WriteFile(policy, []byte(auditPolicy), 0o600); err != nil {
		return 1, fmt.Errorf("writing the audit policy: %w", err)
	}
	world.auditLog = filepath.Join(folder, "audit.log")
	if world.plane, err = controlplane.Start(ctx,
		controlplane.Flag{Name: "audit-policy-file", Value: policy}, controlplane.Flag{Name: "audit-log-path", Value: world.auditLog}); err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, world.plane.Stop()) }()
	return m.Run(), nil
}

// noteInputs looks at what Helm and the compiler read for a test, so that Go's test
// cache knows of it. Go takes no note before m.Run.
func noteInputs(t *testing.T) {
	t.Helper()
	for _, folder := range []string{chartFolder, "../../webhook", "../../controller", "../../cmd", "../../injector", "../../go.sum"} {
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

// apiClient has all rights.
func apiClient(t *testing.T) client.Client {
	t.Helper()
	config := rest.CopyConfig(world.plane.Config)
	config.WarningHandlerWithContext = rest.NoWarnings{}
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// kubeconfig is a file that leads to kube-apiserver, with all rights.
func kubeconfig(t *testing.T) string {
	t.Helper()
	return writeKubeconfig(t, &clientcmdapi.AuthInfo{
		ClientCertificateData: world.plane.Config.CertData, ClientKeyData: world.plane.Config.KeyData,
	})
}

// accountKubeconfig is one with the rights of a ServiceAccount.
func accountKubeconfig(t *testing.T, c client.Client, namespace, name string) string {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}}
	token := &authenticationv1.TokenRequest{}
	if err := c.SubResource("token").Create(t.Context(), account, token); err != nil {
		t.Fatal(err)
	}
	return writeKubeconfig(t, &clientcmdapi.AuthInfo{Token: token.Status.Token})
}

func writeKubeconfig(t *testing.T, user *clientcmdapi.AuthInfo) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters:       map[string]*clientcmdapi.Cluster{"c": {Server: world.plane.Config.Host, CertificateAuthorityData: world.plane.Config.CAData}},
		AuthInfos:      map[string]*clientcmdapi.AuthInfo{"u": user},
		Contexts:       map[string]*clientcmdapi.Context{"x": {Cluster: "c", AuthInfo: "u"}},
		CurrentContext: "x",
	}, file)
	if err != nil {
		t.Fatal(err)
	}
	return file
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, func(context.Context) (bool, error) { return is(), nil })
	if err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}

func ensureNamespace(t *testing.T, c client.Client, name string, labels map[string]string) {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if err := c.Create(t.Context(), namespace); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
}

// withoutCancel is a context for cleaning up, when the test's own is over.
func withoutCancel(t *testing.T) context.Context {
	t.Helper()
	return context.WithoutCancel(t.Context())
}
