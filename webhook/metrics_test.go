package webhook

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestDescribedAreExposed: what the reference says of each metric is what is scraped.
func TestDescribedAreExposed(t *testing.T) {
	m := NewMetrics()
	m.configInfo.WithLabelValues("0") // one that a configuration has
	families, err := m.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []MetricDescription
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "pillion_") {
			continue
		}
		found := MetricDescription{Name: family.GetName(), Type: strings.ToLower(family.GetType().String()), Help: family.GetHelp()}
		for _, label := range family.GetMetric()[0].GetLabel() {
			found.Labels = append(found.Labels, label.GetName())
		}
		got = append(got, found)
	}
	want := slices.Clone(m.Described)
	slices.SortFunc(want, func(a, b MetricDescription) int { return strings.Compare(a.Name, b.Name) })
	for n := range want {
		want[n].Labels = slices.Sorted(slices.Values(want[n].Labels))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("described -, exposed +\n%s", diff)
	}
}

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
