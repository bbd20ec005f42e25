package e2e

import (
	"crypto/tls"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/util/cert"

	"github.com/pillion-mesh/pillion/e2e/release"
	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/webhook"
)

// standIn answers in place of pillion-webhook, so that it can be made to fail.
type standIn struct{ handler atomic.Pointer[http.Handler] }

func (s *standIn) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	(*s.handler.Load()).ServeHTTP(w, r)
}

// answerWith changes the handler.
func (s *standIn) answerWith(h http.Handler) { s.handler.Store(&h) }

// handler is pillion-webhook's own; config is an InjectorConfig, or empty for none.
func handler(t *testing.T, maxInFlight int, config []byte) http.Handler {
	t.Helper()
	var configuration webhook.Configuration
	if len(config) > 0 {
		if err := configuration.Load(config); err != nil {
			t.Fatal(err)
		}
	}
	return webhook.NewHandler(webhook.HandlerOptions{
		Configuration: &configuration, Metrics: webhook.NewMetrics(), Log: slog.New(slog.DiscardHandler), MaxInFlight: maxInFlight, SelfCheck: true,
	})
}

// webhookValues are the chart's, for a webhook beside others on one machine, with
// these on top.
func webhookValues(t *testing.T, more map[string]any, arguments ...any) map[string]any {
	t.Helper()
	values, err := release.Ports()
	if err != nil {
		t.Fatal(err)
	}
	values["shutdownDelaySeconds"], values["extraArgs"] = 0, append([]any{"--host=localhost"}, arguments...)
	for name, value := range more {
		values[name] = value
	}
	return map[string]any{"webhook": values}
}

// installStandIn is install with a stand-in that answers well at first. An HTTP 503
// makes kube-apiserver ask again after a second, until timeoutSeconds are over.
func installStandIn(t *testing.T, timeoutSeconds int) (s *standIn, config []byte) {
	t.Helper()
	c := apiServer(t)
	ensureNamespace(t, c, ownNamespace)
	values := webhookValues(t, map[string]any{"timeoutSeconds": timeoutSeconds})
	rendered := renderForLoopback(t, values)
	if err := rendered.Install(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { uninstall(t, c, rendered) })
	config, err := rendered.Config()
	if err != nil {
		t.Fatal(err)
	}
	s = &standIn{}
	s.answerWith(handler(t, 256, config))

	certificate, key, err := cert.GenerateSelfSignedCertKey(rendered.Object("Service").GetName()+"."+ownNamespace+".svc", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		t.Fatal(err)
	}
	port := values["webhook"].(map[string]any)["port"].(int)
	listener, err := net.Listen("tcp", net.JoinHostPort("localhost", strconv.Itoa(port)))
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: s, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)}
	t.Cleanup(func() { _ = server.Close() }) // nothing is lost with it
	go func() {
		_ = server.Serve(tls.NewListener(listener, &tls.Config{Certificates: []tls.Certificate{pair}}))
	}()
	if err := rendered.TrustCA(t.Context(), c, certificate); err != nil {
		t.Fatal(err)
	}
	waitUntilCalled(t, c, "")
	return s, config
}

// panicking is a request's body that makes its reader panic.
type panicking struct{ io.ReadCloser }

func (panicking) Read([]byte) (int, error) { panic("a bug") }

// TestFailurePolicyDecides: "panic in handler: HTTP 500 (failurePolicy decides)";
// "overload beyond capacity: 503, recovers"; "config missing: never allowed:false".
// The default namespaces get the pod without a sidecar, strict ones no pod but a
// message that says which webhook failed; afterwards both are injected again.
func TestFailurePolicyDecides(t *testing.T) {
	s, config := installStandIn(t, 2)
	good := handler(t, 256, config)
	for name, c := range map[string]struct {
		handler http.Handler
		says    string
	}{
		"panic": {http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			r.Body = panicking{r.Body}
			good.ServeHTTP(w, r)
		}), "PIL092 Internal: panic: a bug"},
		"overload":         {handler(t, 0, config), ""},
		"no configuration": {handler(t, 256, nil), ""},
		"no review": {http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_, _ = w.Write([]byte("{}"))
		}), "webhook response was absent"},
		"connection cut": {http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), "EOF"},
	} {
		t.Run(name, func(t *testing.T) {
			w, strict := newTwins(t, nil), newTwins(t, map[string]string{strictLabel: "true"})
			s.answerWith(c.handler)
			w.checkUntouched(t, appPod("plain"))
			_, err := strict.createIn(t, strict.meshed, appPod("refused"))
			if err == nil || !strings.Contains(err.Error(), "strict.inject.pillion.dev") || !strings.Contains(err.Error(), c.says) {
				t.Errorf("a strict namespace says: %v", err)
			}
			s.answerWith(good)
			w.create(t, appPod("again"))
			strict.create(t, appPod("again"))
		})
	}
}

// TestShedRequestIsAskedAgain: "overload: recovers". kube-apiserver asks a replica
// that sheds load once more, so that a pod does not go without its sidecar for it.
func TestShedRequestIsAskedAgain(t *testing.T) {
	s, config := installStandIn(t, 30)
	good, overloaded := handler(t, 256, config), handler(t, 0, config)
	for _, labels := range []map[string]string{nil, {strictLabel: "true"}} {
		w := newTwins(t, labels)
		var asked atomic.Int32
		s.answerWith(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			if asked.Add(1) == 1 {
				overloaded.ServeHTTP(rw, r)
				return
			}
			good.ServeHTTP(rw, r)
		}))
		w.create(t, appPod("shed"))
		if asked.Load() != 2 {
			t.Errorf("the webhook was asked %d times, want 2", asked.Load())
		}
	}
}

// TestCorruptConfigurationReload: "config (template) corrupt at reload: keep last good;
// never allowed:false". A good one then is taken over without a restart.
func TestCorruptConfigurationReload(t *testing.T) {
	installed := install(t, nil)
	w := newTwins(t, map[string]string{strictLabel: "true"})
	_, want := w.create(t, appPod("before"))
	path := filepath.Join(installed.folder, "config", "config.yaml")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, corrupt := range []string{"", string(good) + "\nnoSuchField: 1\n"} {
		write(t, path, corrupt)
		installed.eventuallyReloads(t, false)
		if _, got := w.create(t, appPod("meanwhile")); got.Config != want.Config {
			t.Errorf("after %q the configuration is %s, which was %s", corrupt, got.Config, want.Config)
		}
		write(t, path, string(good))
		installed.eventuallyReloads(t, true)
	}
	write(t, path, string(good)+"\nlifecycle: {drainTime: 25s}\n")
	eventually(t, "the changed configuration is in force", func() bool {
		pod, err := w.createIn(t, w.meshed, appPod("changed"))
		return err == nil && statusOf(t, pod).Config != want.Config && slices.Contains(container(t, pod, "envoy").Args, "--drain-time=25s")
	})
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func statusOf(t *testing.T, pod *corev1.Pod) injector.Status {
	t.Helper()
	status, err := injector.ParseStatus(pod.Annotations[injector.StatusAnnotation])
	if err != nil {
		t.Fatal(err)
	}
	return status
}

// eventuallyReloads waits until the webhook has tried the configuration file, with
// that result.
func (i *installation) eventuallyReloads(t *testing.T, successful bool) {
	t.Helper()
	series := "pillion_webhook_config_last_reload_successful 0"
	if successful {
		series = "pillion_webhook_config_last_reload_successful 1"
	}
	eventually(t, series, func() bool { return strings.Contains(i.metrics(t), "\n"+series+"\n") })
}
