package webhook

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestReadyIsExposed: the metric says what /readyz does, at each scrape.
func TestReadyIsExposed(t *testing.T) {
	says := func(r *running, series string) {
		t.Helper()
		if _, metrics := r.status(t, "/metrics"); !strings.Contains(metrics, "\n"+series+"\n") {
			t.Errorf("there is no %q", series)
		}
	}
	r := start(t, func(o *Options) { os.Remove(filepath.Join(o.CertDir, "tls.key")) })
	says(r, "pillion_webhook_ready 0")
	r.client = writeCertificate(t, r.dir, 2)
	r.untilReady(t)
	says(r, "pillion_webhook_ready 1")
}
