package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/preflight"
)

// newUser is a ServiceAccount without any rights of its own: a kubeconfig for it, and a
// function that lets it do something everywhere, until the end of the test.
func newUser(t *testing.T, c client.Client) (kubeconfig string, may func(...rbacv1.PolicyRule)) {
	t.Helper()
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: newNamespace(t, c, "users-", nil), Name: "user"}}
	mustCreate(t, c, account)
	token := &authenticationv1.TokenRequest{}
	if err := c.SubResource("token").Create(t.Context(), account, token); err != nil {
		t.Fatal(err)
	}
	kubeconfig = filepath.Join(t.TempDir(), "kubeconfig")
	config := &rest.Config{Host: world.plane.Config.Host, BearerToken: token.Status.Token, TLSClientConfig: rest.TLSClientConfig{CAData: world.plane.Config.CAData}}
	if err := writeKubeconfig(config, kubeconfig); err != nil {
		t.Fatal(err)
	}
	return kubeconfig, func(rules ...rbacv1.PolicyRule) {
		role := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{GenerateName: "user-"}, Rules: rules}
		mustCreate(t, c, role)
		mustCreate(t, c, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: role.Name},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role.Name},
			Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: account.Namespace, Name: account.Name}},
		})
	}
}

// rule lets somebody do something with resources of a group.
func rule(group, resources, verbs string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: []string{group}, Resources: strings.Split(resources, ","), Verbs: strings.Split(verbs, ",")}
}

// TestCheckWithoutRights: what may not be seen is said to be unknown, and nothing of it
// is taken to be well, by the exit status either.
func TestCheckWithoutRights(t *testing.T) {
	installed := install(t, nil)
	c := apiServer(t)
	installed.complete(t, c)
	blind := filepath.Join(t.TempDir(), "kubeconfig")
	// The webhook has no rights at all.
	if err := installed.release.WriteKubeconfigOf(t.Context(), "webhook", world.plane.Config, blind); err != nil {
		t.Fatal(err)
	}
	run := ctlAs(t, blind, "check", "-o", "json")
	var list []checked
	run.into(t, &list)
	for _, c := range list {
		if c.Result != string(preflight.Unknown) {
			t.Errorf("%s is %q to somebody who may see nothing", c.ID, c.Result)
		}
	}
	if run.status != 2 || !strings.Contains(run.stderr, "the webhook's ConfigMap, in all namespaces: ") {
		t.Errorf("to somebody who may see nothing it ended with %d: %s", run.status, run.stderr)
	}
	if run := ctl(t, "check", "--no-dry-run", "-o", "json"); !strings.Contains(run.stdout, "dry runs were not wanted") || run.status != 0 {
		t.Errorf("without dry runs it ended with %d: %s", run.status, run.stdout)
	}
	if run := ctlAs(t, "/no/such/file", "check"); run.status != 2 {
		t.Errorf("without a cluster it ended with %d: %s", run.status, run.stderr)
	}
	if run := ctl(t, "check", "-n", "no-such-namespace"); run.status != 2 || !strings.Contains(run.stderr, "no-such-namespace") {
		t.Errorf("without the namespace it ended with %d: %s", run.status, run.stderr)
	}
}

// TestCheckWithSomeRights: each of the rights without which a part of the installation
// stays hidden is missed, and with all of them the check is done.
func TestCheckWithSomeRights(t *testing.T) {
	installed := install(t, nil)
	c := apiServer(t)
	installed.complete(t, c)
	kubeconfig, may := newUser(t, c)
	may(rule("", "configmaps,secrets,services", "get,list"), rule("apps", "deployments", "list"), rule("discovery.k8s.io", "endpointslices", "list"))
	for _, step := range []struct {
		missing string
		then    rbacv1.PolicyRule
	}{
		{"the MutatingWebhookConfigurations: ", rule("admissionregistration.k8s.io", "mutatingwebhookconfigurations", "list")},
		{"the ValidatingWebhookConfigurations: ", rule("admissionregistration.k8s.io", "validatingwebhookconfigurations", "list")},
		{"the Namespaces: ", rule("", "namespaces", "list")},
	} {
		// kube-apiserver's authorizer notices a role a moment after it is there.
		var run ctlRun
		eventually(t, "the right before is noticed, and "+step.missing+"is what is said first", func() bool {
			run = ctlAs(t, kubeconfig, "check", "-A")
			_, said, _ := strings.Cut(run.stderr, "\n")
			return strings.HasPrefix(said, step.missing)
		})
		if run.status != 2 {
			t.Errorf("without %sit ended with %d: %s%s", step.missing, run.status, run.stdout, run.stderr)
		}
		may(step.then)
	}
	// It waits for what it may not see yet, too.
	if run := ctlAs(t, kubeconfig, "check", "-A", "--wait", "1m"); run.status != 0 {
		t.Errorf("with all rights it ended with %d: %s%s", run.status, run.stdout, run.stderr)
	}
}
