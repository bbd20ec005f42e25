package metric_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pillion-mesh/pillion/metric"
)

// TestDescribedAreExposed: what the reference says of each metric is what is scraped.
func TestDescribedAreExposed(t *testing.T) {
	s := metric.NewSet("test", "v0")
	s.Counters("things_total", "Things.", "b", "a").WithLabelValues("1", "2")
	s.Gauges("heat", "Degrees.", "of").WithLabelValues("it")
	s.Gauge("alone", "No label.")
	s.Histograms("time_seconds", "Time.", []float64{1, 2}).WithLabelValues()
	families, err := s.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var got []metric.Description
	goMetrics := 0
	for _, family := range families {
		if !strings.HasPrefix(family.GetName(), "pillion_test_") {
			goMetrics++
			continue
		}
		found := metric.Description{Name: family.GetName(), Type: strings.ToLower(family.GetType().String()), Help: family.GetHelp()}
		for _, label := range family.GetMetric()[0].GetLabel() {
			found.Labels = append(found.Labels, label.GetName())
		}
		got = append(got, found)
	}
	want := slices.Clone(s.Described)
	slices.SortFunc(want, func(a, b metric.Description) int { return strings.Compare(a.Name, b.Name) })
	for n := range want {
		want[n].Labels = slices.Sorted(slices.Values(want[n].Labels))
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("described -, exposed +\n%s", diff)
	}
	if len(got) != 5 || goMetrics == 0 {
		t.Errorf("%d of ours and %d of Go and the process", len(got), goMetrics)
	}
}
