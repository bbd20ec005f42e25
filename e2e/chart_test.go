package e2e

import (
	"crypto/x509"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	cmapi "github.com/cert-manager/cert-manager/pkg/apis/certmanager/v1"
	"github.com/cert-manager/cert-manager/pkg/util/pki"
	"github.com/google/go-cmp/cmp"
	monitoringv1 "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/envtest"
	"sigs.k8s.io/yaml"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/e2e/release"
)

var update = flag.Bool("update", false, "write the golden renderings anew")

// render renders the chart with values as YAML.
func render(t *testing.T, values string) (*release.Release, error) {
	t.Helper()
	var given map[string]any
	if err := yaml.Unmarshal([]byte(values), &given); err != nil {
		t.Fatal(err)
	}
	return renderValues(t, given)
}

// renderValues renders the chart as it is in the namespace of these tests.
func renderValues(t *testing.T, values map[string]any) (*release.Release, error) {
	t.Helper()
	noteInputs(t)
	return release.Render(t.Context(), release.Options{
		Helm: world.helmProgram, Chart: chartFolder, Name: "pillion", Namespace: ownNamespace, KubeVersion: "1.37", Values: values,
	})
}

func mustRender(t *testing.T, values string) *release.Release {
	t.Helper()
	rendered, err := render(t, values)
	if err != nil {
		t.Fatal(err)
	}
	return rendered
}

// valuesFile is testdata/chart/NAME.values.yaml; golden is what it renders to.
type valuesFile struct{ name, golden, values string }

func valuesFiles(t *testing.T) []valuesFile {
	t.Helper()
	paths, err := filepath.Glob("testdata/chart/*.values.yaml")
	if err != nil || len(paths) == 0 {
		t.Fatalf("finding the values files: %q, %v", paths, err)
	}
	var files []valuesFile
	for _, path := range paths {
		values, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		stem := strings.TrimSuffix(path, ".values.yaml")
		files = append(files, valuesFile{filepath.Base(stem), stem + ".golden.yaml", string(values)})
	}
	return files
}

// TestChartRendering compares with renderings that were read by a person.
func TestChartRendering(t *testing.T) {
	for _, file := range valuesFiles(t) {
		t.Run(file.name, func(t *testing.T) {
			text := mustRender(t, file.values).Text
			if *update {
				if err := os.WriteFile(file.golden, text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file.golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), string(text)); diff != "" {
				t.Errorf("%s (-want +got; if the change is meant, run with -update and read the diff):\n%s", file.golden, diff)
			}
		})
	}
}

// TestChartNeverRendersTheCABundle: a CA bundle in the chart would be written over
// whatever made the certificate, at every upgrade.
func TestChartNeverRendersTheCABundle(t *testing.T) {
	for _, file := range valuesFiles(t) {
		t.Run(file.name, func(t *testing.T) {
			rendered := mustRender(t, file.values)
			for _, kind := range []string{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"} {
				if text := fmt.Sprint(rendered.Object(kind)); strings.Contains(strings.ToLower(text), "cabundle") {
					t.Errorf("the %s contains a caBundle: %s", kind, text)
				}
			}
		})
	}
}

// TestChartConfigIsAnInjectorConfig: the document in the ConfigMap is one that the
// webhook takes, complete with what only Helm knows.
func TestChartConfigIsAnInjectorConfig(t *testing.T) {
	for _, test := range []struct {
		name, values, version string
		excluded              []string
		optIn                 v1alpha1.OptIn
	}{
		{"nothing set", "", "1.37", []string{ownNamespace}, v1alpha1.OptIn{Label: "service-mesh-enabled", Value: "true"}},
		{"set", `injector: {kubernetesVersion: v1.30.2, excludedNamespaces: [a, "b-*"], optIn: {label: l, value: v}}`,
			"v1.30.2", []string{"a", "b-*", ownNamespace}, v1alpha1.OptIn{Label: "l", Value: "v"}},
		{"own namespace named", `injector: {excludedNamespaces: [` + ownNamespace + `]}`, "1.37", []string{ownNamespace},
			v1alpha1.OptIn{Label: "service-mesh-enabled", Value: "true"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := configOf(t, mustRender(t, test.values))
			if config.KubernetesVersion != test.version {
				t.Errorf("kubernetesVersion is %q, want %q", config.KubernetesVersion, test.version)
			}
			if diff := cmp.Diff(test.excluded, config.ExcludedNamespaces); diff != "" {
				t.Errorf("excludedNamespaces (-want +got):\n%s", diff)
			}
			if config.OptIn != test.optIn {
				t.Errorf("optIn is %v, want %v", config.OptIn, test.optIn)
			}
		})
	}
	for _, file := range valuesFiles(t) {
		t.Run(file.name, func(t *testing.T) { configOf(t, mustRender(t, file.values)) })
	}
}

func configOf(t *testing.T, rendered *release.Release) *v1alpha1.InjectorConfig {
	t.Helper()
	document, err := rendered.Config()
	if err != nil {
		t.Fatal(err)
	}
	config, err := v1alpha1.Decode(document)
	if err != nil {
		t.Fatalf("the webhook would not take its configuration: %v\n%s", err, document)
	}
	return config
}

// TestChartRefusesWrongValues: a value that would be ignored, or would render
// something that cannot work, is an error with its path.
func TestChartRefusesWrongValues(t *testing.T) {
	for _, test := range []struct{ name, values, want string }{
		{"misspelled at the top", "webhooks: {}", "additional properties 'webhooks' not allowed"},
		{"misspelled below", "webhook: {image: {tags: x}}", "at '/webhook/image': additional properties 'tags' not allowed"},
		{"misspelled in the configuration", "injector: {lifecycle: {preDrainDelays: 3s}}", "at '/injector/lifecycle': additional properties 'preDrainDelays' not allowed"},
		{"out of range", "webhook: {timeoutSeconds: 31}", "at '/webhook/timeoutSeconds': maximum"},
		{"no replica", "webhook: {replicas: 0}", "at '/webhook/replicas': minimum"},
		{"not in the set", "webhook: {image: {pullPolicy: Sometimes}}", "at '/webhook/image/pullPolicy': value must be one of"},
		{"one port for both", "webhook: {port: 9000, statusPort: 9000}", "webhook.port and webhook.statusPort are both 9000, and the webhook cannot listen twice on one port: give one of them another"},
		{"one port by default", "webhook: {port: 8080}", "are both 8080"},
		{"a source that is none", "tls: {source: vault}", "at '/tls/source': value must be one of"},
		{"a Secret's name", "tls: {secretName: A_B}", "at '/tls/secretName'"},
		{"no disruption ever", "webhook: {podDisruptionBudget: {maxUnavailable: 0}}", "at '/webhook/podDisruptionBudget/maxUnavailable'"},
		{"a revision", "injector: {revision: v1.2}", "at '/injector/revision'"},
		{"the chart's own label", "webhook: {pod: {labels: {app.kubernetes.io/name: x}}}", "webhook.pod.labels has the label app.kubernetes.io/name, which is the chart's own: use another name"},
		{"a label given twice", "{commonLabels: {team: a}, controller: {pod: {labels: {team: b}}}}", "controller.pod.labels and commonLabels both have the label team"},
		{"cert-manager's annotation", "{tls: {source: certManager}, webhook: {configurationAnnotations: {cert-manager.io/inject-ca-from: a/b}}}", "which tls.source certManager sets by itself"},
		{"no name for a Service", "fullnameOverride: Mesh", "at '/fullnameOverride'"},
		{"erased", "webhook: {port: null}", "at '/webhook': missing property 'port'"},
		{"regular expression as a namespace", `injector: {excludedNamespaces: ["a|b"]}`, "at '/injector/excludedNamespaces/0'"},
		{"quote in a namespace", `injector: {excludedNamespaces: ["a'*"]}`, "at '/injector/excludedNamespaces/0'"},
		{"quote in the label", `injector: {optIn: {label: "a'b"}}`, "at '/injector/optIn/label'"},
	} {
		t.Run(test.name, func(t *testing.T) {
			_, err := render(t, test.values)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want an error with %q", err, test.want)
			}
		})
	}
	t.Run("as a dependency of another chart", func(t *testing.T) {
		// Helm then adds `global` by itself.
		if _, err := render(t, "global: {region: here}"); err != nil {
			t.Error(err)
		}
	})
}

// TestChartIsAccepted applies everything that is rendered to kube-apiserver, on the
// server side and dry, with strict field validation. What is for Prometheus Operator
// is compared with its types: the project has the definitions nowhere that a module
// would bring.
func TestChartIsAccepted(t *testing.T) {
	c := apiServer(t)
	ensureNamespace(t, c, ownNamespace)
	installCertManagerKinds(t)
	operator := map[string]any{"ServiceMonitor": &monitoringv1.ServiceMonitor{}, "PrometheusRule": &monitoringv1.PrometheusRule{}}
	for _, file := range valuesFiles(t) {
		t.Run(file.name, func(t *testing.T) {
			rendered := mustRender(t, file.values)
			for _, object := range slices.Concat(rendered.Objects, rendered.Hooks) {
				if into, known := operator[object.GetKind()]; known {
					if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, into, true); err != nil {
						t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
					}
					continue
				}
				// Apply refuses unknown fields by itself.
				err := c.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(object.DeepCopy()), release.FieldOwner, client.DryRunAll)
				if err != nil {
					t.Errorf("%s %s: %v", object.GetKind(), object.GetName(), err)
				}
			}
		})
	}
}

// installCertManagerKinds makes cert-manager's kinds known to kube-apiserver.
func installCertManagerKinds(t *testing.T) {
	t.Helper()
	folder, err := exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/cert-manager/cert-manager").Output()
	if err != nil {
		t.Fatal(err)
	}
	_, err = envtest.InstallCRDs(world.plane.Config, envtest.CRDInstallOptions{
		Paths: []string{filepath.Join(strings.TrimSpace(string(folder)), "deploy", "crds")}, ErrorIfPathMissing: true,
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestChartCertificate: what the chart tells cert-manager makes a certificate that
// kube-apiserver takes, and the CA that both configurations ask for is that of it.
func TestChartCertificate(t *testing.T) {
	for _, file := range []string{"cert-manager", "issuer"} {
		t.Run(file, func(t *testing.T) {
			values, err := os.ReadFile("testdata/chart/" + file + ".values.yaml")
			if err != nil {
				t.Fatal(err)
			}
			rendered := mustRender(t, string(values))
			var serving *cmapi.Certificate
			for _, object := range rendered.Objects {
				if object.GetKind() != "Certificate" || object.GetName() != "pillion-webhook" {
					continue
				}
				serving = &cmapi.Certificate{}
				if err := runtime.DefaultUnstructuredConverter.FromUnstructuredWithValidation(object.Object, serving, true); err != nil {
					t.Fatal(err)
				}
			}
			if serving == nil {
				t.Fatal("there is no Certificate pillion-webhook")
			}
			if diff := cmp.Diff([]string{"pillion-webhook." + ownNamespace + ".svc"}, serving.Spec.DNSNames); diff != "" {
				t.Errorf("names (-want +got):\n%s", diff)
			}
			template, err := pki.CertificateTemplateFromCertificate(serving)
			if err != nil {
				t.Fatalf("cert-manager would not make it: %v", err)
			}
			if template.IsCA || !slices.Equal(template.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}) {
				t.Errorf("it would be a CA (%t) or for %v", template.IsCA, template.ExtKeyUsage)
			}
			for _, kind := range []string{"MutatingWebhookConfiguration", "ValidatingWebhookConfiguration"} {
				if got, want := rendered.Object(kind).GetAnnotations()[cmapi.WantInjectAnnotation], ownNamespace+"/"+serving.Name; got != want {
					t.Errorf("%s asks for the CA of %q, want %q", kind, got, want)
				}
			}
			secret, _, err := unstructured.NestedSlice(rendered.Object("Deployment").Object, "spec", "template", "spec", "volumes")
			if err != nil || !strings.Contains(fmt.Sprint(secret), "secretName:"+serving.Spec.SecretName) {
				t.Errorf("the webhook does not mount %s: %v", serving.Spec.SecretName, secret)
			}
		})
	}
}

// TestChartUpgradeKeepsTheCABundle: what another hand wrote there survives the next
// apply of the chart.
func TestChartUpgradeKeepsTheCABundle(t *testing.T) {
	c := apiServer(t)
	installed := install(t, nil)
	before := configuration(t, c, installed.release)
	if err := installed.release.Install(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	after := configuration(t, c, installed.release)
	if diff := cmp.Diff(before.Webhooks, after.Webhooks); diff != "" {
		t.Errorf("applying the same chart again changed the webhooks (-before +after):\n%s", diff)
	}
	for _, webhook := range after.Webhooks {
		if len(webhook.ClientConfig.CABundle) == 0 {
			t.Errorf("%s lost its caBundle", webhook.Name)
		}
	}
}

func configuration(t *testing.T, c client.Client, r *release.Release) *admissionv1.MutatingWebhookConfiguration {
	t.Helper()
	var found admissionv1.MutatingWebhookConfiguration
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(r.Object("MutatingWebhookConfiguration")), &found); err != nil {
		t.Fatal(err)
	}
	return &found
}

// TestChartDeploymentIsRestricted: the release's own pods pass the restricted Pod
// Security level, which kube-apiserver enforces, and the webhook's holds no token.
func TestChartDeploymentIsRestricted(t *testing.T) {
	c := apiServer(t)
	labelNamespace(t, c, "restricted", map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
	for _, file := range valuesFiles(t) {
		t.Run(file.name, func(t *testing.T) {
			rendered := mustRender(t, file.values)
			for _, component := range []string{"webhook", "controller"} {
				deployment := rendered.Of(component, "Deployment")
				if deployment == nil {
					continue
				}
				template, _, err := unstructured.NestedMap(deployment.Object, "spec", "template")
				if err != nil {
					t.Fatal(err)
				}
				pod := &unstructured.Unstructured{Object: template}
				pod.SetAPIVersion("v1")
				pod.SetKind("Pod")
				pod.SetName(component)
				pod.SetNamespace("restricted")
				if token, found, _ := unstructured.NestedBool(pod.Object, "spec", "automountServiceAccountToken"); token != (component == "controller") || !found {
					t.Errorf("the %s's pod would get a token: %t", component, token)
				}
				// These would have to exist.
				unstructured.RemoveNestedField(pod.Object, "spec", "serviceAccountName")
				unstructured.RemoveNestedField(pod.Object, "spec", "priorityClassName")
				if err := c.Create(t.Context(), pod, client.DryRunAll); err != nil {
					t.Error(err)
				}
			}
		})
	}
}
