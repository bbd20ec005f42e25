package e2e

import (
	"context"
	"io"
	"maps"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/e2e/alerts"
	"github.com/pillion-mesh/pillion/e2e/release"
)

const (
	ruleFile      = chartFolder + "/files/alerts.yaml"
	dashboardFile = chartFolder + "/files/dashboard.json"
)

// legendLabel is a label in the legend of a panel.
var legendLabel = regexp.MustCompile(`{{(\w+)}}`)

// monitored is an installation that a real Prometheus scrapes, and kube-apiserver too,
// after pods that got their sidecar, one that was refused, and some that the webhook was
// not there for.
type monitored struct {
	*alerts.Prometheus
	exposed   alerts.Exposed
	rules     []alerts.Rule
	dashboard *alerts.Dashboard
}

// TestAlertsAndDashboard: "alert rules/dashboards refer to a metric that no longer exists".
// Every name in them is one that the webhook and kube-apiserver expose, every query finds
// something, every rule can be evaluated; and pods that are let through without a sidecar page.
func TestAlertsAndDashboard(t *testing.T) {
	m := monitor(t)
	t.Run("names", m.testNames)
	t.Run("dashboard", m.testDashboard)
	t.Run("rules", m.testRules)
}

func monitor(t *testing.T) *monitored {
	t.Helper()
	m := &monitored{}
	var err error
	if m.rules, err = alerts.ReadRules(ruleFile); err != nil {
		t.Fatal(err)
	}
	if m.dashboard, err = alerts.ReadDashboard(dashboardFile); err != nil {
		t.Fatal(err)
	}
	installed := install(t, nil)
	controller := installed.startController(t)
	m.Prometheus = startPrometheus(t, installed, controller)
	m.eventuallyFinds(t, "pillion_webhook_ready == 1")
	m.eventuallyFinds(t, `up{job="apiserver"} == 1`)

	lax, strict := newTwins(t, nil), newTwins(t, map[string]string{strictLabel: "true"})
	lax.create(t, appPod("injected"))
	refused := appPod("refused")
	refused.Annotations = map[string]string{"pillion.dev/log-level": "no such level"}
	if _, err := lax.createIn(t, lax.meshed, refused); err == nil {
		t.Error("a pod with a wrong annotation was accepted")
	}
	m.eventuallyFinds(t, `pillion_webhook_admissions_total{verdict="refuse"} > 0`)
	m.exposed = exposed(t, installed, controller)

	installed.stop(t)
	// The first one makes the series, and the second one is seen as an increase.
	for range 2 {
		lax.checkUntouched(t, appPod("missed"))
		if _, err := strict.createIn(t, strict.meshed, appPod("impossible")); err == nil {
			t.Error("a strict namespace got a pod without a webhook")
		}
		m.eventuallyFinds(t, `apiserver_admission_webhook_fail_open_count{name="inject.pillion.dev"}`)
		m.eventuallyFinds(t, `apiserver_admission_webhook_rejection_count{name="strict.inject.pillion.dev", error_type="calling_webhook_error"}`)
	}
	for series, labels := range scrapeAPIServer(t) {
		m.exposed[series] = labels
	}
	return m
}

// startController starts pillion-controller, and gives the webhook the certificate that
// it made.
func (i *installation) startController(t *testing.T) *release.Controller {
	t.Helper()
	c := apiServer(t)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := i.release.WriteKubeconfig(t.Context(), world.plane.Config, file); err != nil {
		t.Fatal(err)
	}
	controller, err := i.release.StartController(t.Context(), world.controllerProgram, file, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := controller.Stop(); err != nil {
			t.Error(err)
		}
	})
	var secret corev1.Secret
	key := client.ObjectKeyFromObject(i.release.Of("controller", "Secret"))
	err = wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, 30*time.Second, true, func(ctx context.Context) (bool, error) {
		return c.Get(ctx, key, &secret) == nil && len(secret.Data["tls.key"]) > 0, nil
	})
	if err != nil {
		t.Fatalf("there is no certificate: %v", err)
	}
	for _, name := range []string{"tls.crt", "tls.key"} {
		if err := os.WriteFile(filepath.Join(i.folder, "tls", name), secret.Data[name], 0o600); err != nil {
			t.Fatal(err)
		}
	}
	waitUntilCalled(t, c, "")
	return controller
}

// testNames: a metric or a label that is named is exposed.
func (m *monitored) testNames(t *testing.T) {
	expressions, err := m.dashboard.Variables()
	if err != nil {
		t.Fatal(err)
	}
	for _, rule := range m.rules {
		expressions = append(expressions, rule.Expr)
	}
	for _, panel := range m.dashboard.Panels {
		for _, query := range panel.Targets {
			expressions = append(expressions, query.Substituted("1m"))
		}
	}
	for _, expression := range expressions {
		unknown, err := m.exposed.Unknown(expression)
		if err != nil {
			t.Error(err)
		}
		for _, what := range unknown {
			t.Errorf("%s\nin %s", what, expression)
		}
	}
}

// testDashboard: each query finds a line, with the labels that its legend shows.
func (m *monitored) testDashboard(t *testing.T) {
	for _, panel := range m.dashboard.Panels {
		for _, query := range panel.Targets {
			expression := query.Substituted("5s")
			for _, labels := range m.eventuallyFinds(t, expression) {
				for _, named := range legendLabel.FindAllStringSubmatch(query.Legend, -1) {
					if labels[named[1]] == "" {
						t.Errorf("%s: the legend shows %s, which the line does not have: %v", panel.Title, named[1], labels)
					}
				}
			}
		}
	}
}

// testRules: Prometheus evaluates every rule; what happened pages, and the rest does not.
func (m *monitored) testRules(t *testing.T) {
	for _, rule := range m.rules {
		m.series(t, rule.Expr)
	}
	want := map[string]string{"PillionFailOpen": "firing", "PillionRefusedByFailure": "pending"}
	var got map[string]string
	defer func() { t.Logf("alerts are %v, want %v", got, want) }()
	eventually(t, "every rule evaluated, and these alerts", func() bool {
		states, err := m.Rules(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		got = map[string]string{}
		evaluated := 0
		for _, rule := range states {
			if rule.Health == "err" {
				t.Fatalf("%s: %s", rule.Name, rule.LastError)
			}
			if rule.Health == "ok" {
				evaluated++
			}
			if rule.State != "inactive" {
				got[rule.Name] = rule.State
			}
		}
		// No webhook is left to scrape; that it is missed is right.
		delete(got, "PillionNoReadyReplica")
		return evaluated == len(m.rules) && maps.Equal(got, want)
	})
}

func (m *monitored) series(t *testing.T, expression string) []map[string]string {
	t.Helper()
	series, err := m.Series(t.Context(), expression)
	if err != nil {
		t.Errorf("%s: %v", expression, err)
	}
	return series
}

func (m *monitored) eventuallyFinds(t *testing.T, expression string) (found []map[string]string) {
	t.Helper()
	eventually(t, "a line of "+expression, func() bool {
		found = m.series(t, expression)
		return len(found) > 0 || t.Failed()
	})
	return found
}

// startPrometheus lets one scrape the installation's webhook and kube-apiserver.
func startPrometheus(t *testing.T, installed *installation, controller *release.Controller) *alerts.Prometheus {
	t.Helper()
	programs, err := alerts.Find(t.Context(), "..")
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	tls := map[string]any{}
	for name, content := range map[string][]byte{
		"ca_file": world.plane.Config.CAData, "cert_file": world.plane.Config.CertData, "key_file": world.plane.Config.KeyData,
	} {
		path := filepath.Join(folder, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		tls[name] = path
	}
	prometheus, err := alerts.Start(t.Context(), programs.Prometheus, folder, ruleFile, []alerts.Target{
		{Job: "pillion-webhook", Address: strings.TrimPrefix(installed.webhook.StatusURL, "http://"), Labels: map[string]string{"namespace": ownNamespace}},
		{Job: "pillion-controller", Address: strings.TrimPrefix(controller.StatusURL, "http://"), Labels: map[string]string{"namespace": ownNamespace}},
		{Job: "apiserver", Address: apiServerURL(t).Host, TLS: tls},
	}, t.Output())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := prometheus.Stop(); err != nil {
			t.Error(err)
		}
	})
	return prometheus
}

// exposed is what can be scraped beside kube-apiserver, and what Prometheus itself says of each
// target.
func exposed(t *testing.T, installed *installation, controller *release.Controller) alerts.Exposed {
	t.Helper()
	all := alerts.Exposed{"up": nil}
	for _, text := range []string{installed.metrics(t), metricsOf(t, controller.StatusURL)} {
		maps.Copy(all, readExposed(t, strings.NewReader(text)))
	}
	return all
}

func readExposed(t *testing.T, text io.Reader) alerts.Exposed {
	t.Helper()
	read, err := alerts.ReadExposed(text)
	if err != nil {
		t.Fatal(err)
	}
	if len(read) == 0 {
		t.Fatal("nothing was scraped")
	}
	return read
}

func apiServerURL(t *testing.T) *url.URL {
	t.Helper()
	at, _, err := rest.DefaultServerUrlFor(world.plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// scrapeAPIServer is what kube-apiserver exposes about webhooks.
func scrapeAPIServer(t *testing.T) alerts.Exposed {
	t.Helper()
	client, err := rest.HTTPClientFor(world.plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, apiServerURL(t).JoinPath("metrics").String(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	read := readExposed(t, response.Body)
	maps.DeleteFunc(read, func(series string, _ []string) bool { return !strings.HasPrefix(series, "apiserver_admission_") })
	if len(read) == 0 {
		t.Fatalf("kube-apiserver exposes nothing about admission, but HTTP %d", response.StatusCode)
	}
	return read
}
