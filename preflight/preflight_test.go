package preflight

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
)

// installed is a release with this configuration.
func installed(t *testing.T, config string) Installed {
	t.Helper()
	decoded, err := v1alpha1.Decode([]byte("apiVersion: pillion.dev/v1alpha1\nkind: InjectorConfig\n" + config))
	if err != nil {
		t.Fatal(err)
	}
	made, err := injector.New(decoded)
	if err != nil {
		t.Fatal(err)
	}
	return Installed{Namespace: "pillion", Name: "pillion-webhook", Config: decoded, Injector: made}
}

// result is that of one check.
func result(t *testing.T, f *Facts, id string) Result {
	t.Helper()
	for _, r := range Run(f) {
		if r.Check.ID == id {
			return r
		}
	}
	t.Fatalf("there is no check %s", id)
	return Result{}
}

// TestTable: ids are stable names, each once, and each check says everything.
func TestTable(t *testing.T) {
	t.Parallel()
	id := regexp.MustCompile(`^[a-z]+(-[a-z]+)+$`)
	var known []string
	for _, c := range Checks() {
		if !id.MatchString(c.ID) || slices.Contains(known, c.ID) {
			t.Errorf("the id %q is not one, or is there twice", c.ID)
		}
		known = append(known, c.ID)
		for _, text := range []string{c.Meaning, c.Hint} {
			if !strings.HasSuffix(text, ".") {
				t.Errorf("%s: %q is not a sentence", c.ID, text)
			}
		}
		if c.Holds == "" || c.Category == "" {
			t.Errorf("%s has no sentence or no category", c.ID)
		}
	}
}

// TestNothingSeen: of what was not seen, nothing is taken to be well.
func TestNothingSeen(t *testing.T) {
	t.Parallel()
	forbidden := errors.New("forbidden")
	blind := func(config string) *Facts {
		r := installed(t, config)
		r.Deployments.Err, r.Service.Err, r.Slices.Err, r.Certificate.Err = forbidden, forbidden, forbidden, forbidden
		f := &Facts{Releases: Seen[[]Installed]{Value: []Installed{r}}}
		f.ServerVersion.Err, f.Mutating.Err, f.Validating.Err, f.Namespaces.Err, f.MeshServicesDefined.Err = forbidden, forbidden, forbidden, forbidden, forbidden
		ns := Namespace{Object: corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "baseline"}}}}
		ns.Workloads.Err, ns.LimitRanges.Err, ns.Quotas.Err, ns.Autoscalers.Err, ns.Budgets.Err = forbidden, forbidden, forbidden, forbidden, forbidden
		ns.MeshServices.Err, ns.Sidecars.Err = forbidden, forbidden
		f.Asked = []Namespace{ns}
		return f
	}
	for _, r := range Run(blind("")) {
		if r.Level() != Unknown && r.Check.ID != "release-found" && r.Check.ID != "configuration-valid" {
			t.Errorf("%s is %q though nothing was seen", r.Check.ID, r.Level())
		}
	}
	none := &Facts{}
	none.Releases.Err = forbidden
	if r := result(t, none, "release-found"); r.Level() != Unknown {
		t.Errorf("the releases that may not be seen are %q", r.Level())
	}
	if r := result(t, &Facts{}, "release-found"); r.Level() != Problem {
		t.Errorf("no release is %q", r.Level())
	}
}

func TestKubernetesVersion(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		config, server string
		want           Level
	}{
		{"kubernetesVersion: \"1.37\"", "v1.37.2", ""},
		{"kubernetesVersion: \"1.36\"", "v1.37.2-gke.100", Notice},
		{"kubernetesVersion: \"1.37\"", "v1.28.1", Problem},
		{"kubernetesVersion: \"1.28\"", "v1.28.1", ""},
		{"kubernetesVersion: \"1.28\"\nsidecar: {mode: native}", "v1.28.1", Problem},
		{"kubernetesVersion: \"1.37\"\nsidecar: {mode: classic}", "v1.28.1", Notice},
		{"", "v1.28.1", ""},
		{"", "who knows", Unknown},
	} {
		f := &Facts{Releases: Seen[[]Installed]{Value: []Installed{installed(t, test.config)}}}
		f.ServerVersion.Value = test.server
		if r := result(t, f, "kubernetes-version"); r.Level() != test.want {
			t.Errorf("%q on %s: %v, want %q", test.config, test.server, r.Findings, test.want)
		}
	}
}

// TestPhaseOf: what kube-apiserver says, in its words and those of Go's libraries. Those
// that it says in e2e/check_test.go are not repeated.
func TestPhaseOf(t *testing.T) {
	t.Parallel()
	const call = `Internal error occurred: failed calling webhook "strict.inject.pillion.dev": failed to call webhook: Post "https://h.p.svc:443/mutate?timeout=5s": `
	for message, want := range map[string]Phase{
		call + `dial tcp: lookup h.p.svc on 10.0.0.10:53: no such host`: PhaseDNS,
		call + `service "h" not found`:                                  PhaseDNS,
		call + `no endpoints available for service "h"`:                 PhaseTCP,
		call + `dial tcp 10.0.0.1:443: i/o timeout`:                     PhaseTCP,
		call + `EOF`: PhaseTCP,
		call + `tls: failed to verify certificate: x509: certificate has expired or is not yet valid`:               PhaseTLS,
		call + `http: server gave HTTP response to HTTPS client`:                                                    PhaseTLS,
		call + `context deadline exceeded`:                                                                          PhaseTimeout,
		call + `net/http: request canceled (Client.Timeout exceeded while awaiting headers)`:                        PhaseTimeout,
		`Internal error occurred: failed calling webhook "x": the server is currently unable to handle the request`: PhaseHTTP,
		`pods "p" is forbidden: violates PodSecurity "baseline:latest"`:                                             "",
	} {
		if got := PhaseOf(message); got != want {
			t.Errorf("%s is of the phase %q, want %q", message, got, want)
		}
	}
}

// TestSelectingReadsLikeKubernetes: selectors are evaluated with the label that
// kube-apiserver sets, and a selector that is not there takes everything.
func TestSelectingReadsLikeKubernetes(t *testing.T) {
	t.Parallel()
	r := installed(t, "")
	service := &admissionv1.ServiceReference{Namespace: r.Namespace, Name: r.Name}
	rules := []admissionv1.RuleWithOperations{{
		Operations: []admissionv1.OperationType{"*"}, Rule: admissionv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*/*"}},
	}}
	var f Facts
	f.Mutating.Value = []admissionv1.MutatingWebhookConfiguration{{
		ObjectMeta: metav1.ObjectMeta{Name: "c"},
		Webhooks: []admissionv1.MutatingWebhook{
			{Name: "all", Rules: rules, ClientConfig: admissionv1.WebhookClientConfig{Service: service}},
			{Name: "by-name", Rules: rules, ClientConfig: admissionv1.WebhookClientConfig{Service: service}, NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: "shop"}}},
			{Name: "others", Rules: rules, ClientConfig: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "o", Name: "o"}}},
			{Name: "not-pods", ClientConfig: admissionv1.WebhookClientConfig{Service: service}},
		},
	}}
	for namespace, want := range map[string]string{"shop": "[c/all c/by-name]", "other": "[c/all]"} {
		got := fmt.Sprint(f.Selecting(&r, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, nil))
		if got != want {
			t.Errorf("%s is taken by %s, want %s", namespace, got, want)
		}
	}
}

// TestPodSecurityByDefault: a level that no label says, but kube-apiserver's own
// configuration, is met by the pod that was tried. The words are kube-apiserver's.
func TestPodSecurityByDefault(t *testing.T) {
	t.Parallel()
	r := installed(t, "")
	for message, want := range map[string]Level{
		`pods "p" is forbidden: violates PodSecurity "baseline:latest": non-default capabilities (container "pillion-init" must not include "NET_ADMIN", "NET_RAW" in securityContext.capabilities.add)`: Problem,
		`pods "p" is forbidden: exceeded quota: q`: "",
	} {
		f := &Facts{Releases: Seen[[]Installed]{Value: []Installed{r}}}
		f.Asked = []Namespace{{
			Object: corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "shop"}},
			Trial:  &Trial{Namespace: "shop", Err: errors.New(message)},
		}}
		if got := result(t, f, "pod-security"); got.Level() != want {
			t.Errorf("%s is told as %v", message, got.Findings)
		}
	}
}

// TestCertificateWithoutConfigurations: whoever reads the Secret and not the caBundle
// does not know whether they belong together.
func TestCertificateWithoutConfigurations(t *testing.T) {
	t.Parallel()
	r := installed(t, "")
	r.Certificate.Value = selfSigned(t)
	for _, blind := range []func(*Facts){
		func(f *Facts) { f.Mutating.Err = errors.New("forbidden") },
		func(f *Facts) { f.Validating.Err = errors.New("forbidden") },
	} {
		f := &Facts{Now: time.Unix(0, 0), Releases: Seen[[]Installed]{Value: []Installed{r}}}
		if got := result(t, f, "certificate-trusted"); got.Level() != "" {
			t.Fatalf("without entries it says %v", got.Findings)
		}
		blind(f)
		if got := result(t, f, "certificate-trusted"); got.Level() != Unknown {
			t.Errorf("without a look it is %q", got.Level())
		}
	}
}

func selfSigned(t *testing.T) []byte {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotBefore: time.Unix(0, 0), NotAfter: time.Unix(3600, 0)}
	raw, err := x509.CreateCertificate(rand.Reader, template, template, public, private)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: raw})
}

// TestNoController: without its Deployment it depends on whether the chart brought one.
func TestNoController(t *testing.T) {
	t.Parallel()
	for meant, want := range map[bool]Level{true: Problem, false: Notice} {
		r := installed(t, "")
		r.ControllerMeant = meant
		f := &Facts{Releases: Seen[[]Installed]{Value: []Installed{r}}}
		if got := result(t, f, "controller-available"); got.Level() != want {
			t.Errorf("meant: %t: it says %v, want %q", meant, got.Findings, want)
		}
	}
}
