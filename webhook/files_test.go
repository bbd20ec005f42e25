package webhook

import (
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/pillion-mesh/pillion/injector"
)

const otherConfig = minimalConfig + "optIn:\n  label: mesh\n"

// swap makes link point to a new directory with content in name, as kubelet does
// for a ConfigMap: all at once, by renaming ..data.
func swap(t *testing.T, dir, name, content string) {
	t.Helper()
	version, err := os.MkdirTemp(dir, "..version-")
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(version, name), []byte(content))
	next := filepath.Join(dir, "..data_tmp")
	if err := os.Symlink(filepath.Base(version), next); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join("..data", name), filepath.Join(dir, name)); err != nil && !os.IsExist(err) {
		t.Fatal(err)
	}
}

func TestConfigReloadOnChangeAndSymlinkSwap(t *testing.T) {
	dir := t.TempDir()
	swap(t, dir, "mounted.yaml", minimalConfig)
	r := start(t, func(o *Options) { o.ConfigFile = filepath.Join(dir, "mounted.yaml") })
	r.untilReady(t)
	first := r.configuration.Hash()
	swap(t, dir, "mounted.yaml", otherConfig)
	eventually(t, "the other configuration in force", func() bool { return r.configuration.Hash() != first })
	swap(t, dir, "mounted.yaml", minimalConfig)
	eventually(t, "the first configuration in force again", func() bool { return r.configuration.Hash() == first })
	_, metrics := r.status(t, "/metrics")
	if got := strings.Count(metrics, "\npillion_webhook_config_info{"); got != 1 {
		t.Errorf("%d configurations are said to be in force", got)
	}
}

func TestConfigReloadKeepsTheLastGoodOne(t *testing.T) {
	r := start(t, nil)
	r.untilReady(t)
	first := r.configuration.Hash()
	path := filepath.Join(r.dir, "config.yaml")
	for name, change := range map[string]func(){
		"corrupt":       func() { write(t, path, []byte("}{")) },
		"unknown field": func() { write(t, path, []byte(minimalConfig+"optOut: {}\n")) },
		"empty":         func() { write(t, path, nil) },
		"too large":     func() { write(t, path, []byte(minimalConfig+strings.Repeat("#\n", maxFile))) },
		"gone":          func() { os.Remove(path) },
	} {
		write(t, path, []byte(minimalConfig))
		eventually(t, "loaded", func() bool { return value(t, r.metrics.configReload.successful) == 1 })
		change()
		eventually(t, name+" noticed", func() bool { return value(t, r.metrics.configReload.successful) == 0 })
		if r.configuration.Hash() != first {
			t.Errorf("%s: the last good configuration is not in force", name)
		}
		if err := r.ready(); err != nil {
			t.Errorf("%s: not ready: %v", name, err)
		}
		if _, err := r.review(r.httpClient(t)); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A file that stays bad is one line in the log, not one a second.
func TestBadFileIsLoggedOnce(t *testing.T) {
	lines := &logLines{}
	path := filepath.Join(t.TempDir(), "config.yaml")
	configuration := &Configuration{}
	f := &polledFiles{
		what: "configuration", paths: []string{path}, log: slog.New(slog.NewJSONHandler(lines, nil)), metrics: NewMetrics().configReload,
		use: func(contents [][]byte) error { return configuration.Load(contents[0]) },
	}
	for range 5 {
		f.check()
	}
	write(t, path, []byte("}{"))
	for range 5 {
		f.check()
	}
	if count := strings.Count(lines.String(), "\n"); count != 2 {
		t.Errorf("logged in %d lines, want one for the missing and one for the bad file: %s", count, lines)
	}
	if !strings.Contains(lines.String(), path) {
		t.Errorf("the log does not name the file: %s", lines)
	}
}

func TestNeverReadyWithoutConfig(t *testing.T) {
	r := start(t, func(o *Options) { o.ConfigFile += ".missing" })
	if status, body := r.status(t, "/readyz"); status != 503 || !strings.Contains(body, "no configuration was ever loaded") {
		t.Errorf("got HTTP %d %q", status, body)
	}
	if status, body := r.status(t, "/healthz"); status != 200 {
		t.Errorf("not healthy, so it would be restarted for nothing: HTTP %d %q", status, body)
	}
	if _, err := r.review(r.httpClient(t)); err == nil || !strings.Contains(err.Error(), "HTTP 503: PIL094") {
		t.Errorf("got %v", err)
	}
	write(t, r.options.ConfigFile, []byte(minimalConfig))
	r.untilReady(t)
}

// TestReadyOnceItAnswersAReview: a handshake is not enough, and neither is an answer
// that says that something failed.
func TestReadyOnceItAnswersAReview(t *testing.T) {
	r := start(t, func(o *Options) { o.ConfigFile += ".missing" })
	r.configuration.current.Store(&loaded{inject: func(injector.Request) injector.Result { panic("as every pod") }})
	eventually(t, "it asked itself again", func() bool { return value(t, r.metrics.panics) > 1 })
	if status, body := r.status(t, "/readyz"); status != 503 || !strings.Contains(body, "the listener has not answered a review yet") {
		t.Errorf("got HTTP %d %q", status, body)
	}
	write(t, r.options.ConfigFile, []byte(minimalConfig))
	r.untilReady(t)
}

func TestNeverReadyWithoutCertificate(t *testing.T) {
	r := start(t, func(o *Options) { os.Remove(filepath.Join(o.CertDir, "tls.key")) })
	if status, body := r.status(t, "/readyz"); status != 503 || !strings.Contains(body, "no certificate was ever loaded") {
		t.Errorf("got HTTP %d %q", status, body)
	}
	r.client = writeCertificate(t, r.dir, 2)
	r.untilReady(t)
	if _, err := r.review(r.httpClient(t)); err != nil {
		t.Error(err)
	}
}

func TestCertificateReload(t *testing.T) {
	r := start(t, nil)
	r.untilReady(t)
	old := r.serving.current.Load()
	write(t, filepath.Join(r.dir, "tls.key"), []byte("not the certificate's key"))
	eventually(t, "the bad key noticed", func() bool { return value(t, r.metrics.certificateReload.successful) == 0 })
	if r.serving.current.Load() != old || r.ready() != nil {
		t.Error("a bad key replaced the last good certificate")
	}
	r.client = writeCertificate(t, r.dir, 7)
	eventually(t, "the new certificate served", func() bool { return r.serving.current.Load() != old })
	c := r.dial(t)
	if got := c.ConnectionState().PeerCertificates[0].SerialNumber.Int64(); got != 7 {
		t.Errorf("certificate %d is served, want 7", got)
	}
	leaf := r.serving.current.Load().Certificates[0].Leaf
	if got, want := value(t, r.metrics.certificateExpiry), float64(leaf.NotAfter.Unix()); got != want {
		t.Errorf("the expiry is said to be %v, want %v", got, want)
	}
	if got, want := value(t, r.metrics.certificateNotBefore), float64(leaf.NotBefore.Unix()); got != want {
		t.Errorf("the certificate is said to be valid from %v on, want %v", got, want)
	}
}

// Requests come in while the configuration changes; each is answered from one of
// the two, whole.
func TestConfigReloadUnderLoad(t *testing.T) {
	h, _ := newTestHandler(nil)
	if err := h.configuration.Load([]byte(minimalConfig)); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range 100 {
			if err := h.configuration.Load([]byte([]string{minimalConfig, otherConfig}[n%2])); err != nil {
				t.Error(err)
			}
		}
	}()
	for range 200 {
		w := post(h, reviewOf(testPod))
		got := responseOf(t, w).AuditAnnotations["reason"]
		if got != injector.ReasonInjected.String() && got != injector.ReasonNotOptedIn.String() {
			t.Errorf("got %q", got)
		}
	}
	<-done
}
