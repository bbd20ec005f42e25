package admissions

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/rest"
)

// Times is a histogram of kube-apiserver's: how long it waited for a webhook.
type Times struct {
	Count   uint64
	buckets []bucket
}

type bucket struct {
	upTo  float64 // seconds
	count uint64  // of all up to there
}

// TimesOf reads, by the webhook's name, how long kube-apiserver has waited for creations.
func TimesOf(t *testing.T, apiServer *rest.Config) map[string]Times {
	t.Helper()
	found := map[string]Times{}
	for _, m := range families(t, apiServer)["apiserver_admission_webhook_admission_duration_seconds"].GetMetric() {
		labels := map[string]string{}
		for _, pair := range m.GetLabel() {
			labels[pair.GetName()] = pair.GetValue()
		}
		if labels["rejected"] != "false" || labels["operation"] != "CREATE" {
			continue
		}
		of := Times{Count: m.GetHistogram().GetSampleCount()}
		for _, b := range m.GetHistogram().GetBucket() {
			of.buckets = append(of.buckets, bucket{b.GetUpperBound(), b.GetCumulativeCount()})
		}
		found[labels["name"]] = of
	}
	return found
}

// families are kube-apiserver's metrics.
func families(t *testing.T, apiServer *rest.Config) map[string]*dto.MetricFamily {
	t.Helper()
	caller, err := rest.HTTPClientFor(apiServer)
	if err != nil {
		t.Fatal(err)
	}
	at, _, err := rest.DefaultServerUrlFor(apiServer)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at.JoinPath("metrics").String(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := caller.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	parsed, err := parser.TextToMetricFamilies(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}

// Since is what was counted after an earlier reading.
func (t Times) Since(before Times) Times {
	result := Times{Count: t.Count - before.Count, buckets: slices.Clone(t.buckets)}
	for n := range result.buckets {
		if n < len(before.buckets) {
			result.buckets[n].count -= before.buckets[n].count
		}
	}
	return result
}

// Quantile says between which bounds it is: the buckets are far apart.
func (t Times) Quantile(q float64) string {
	lower := 0.0
	for _, b := range t.buckets {
		if float64(b.count) >= q*float64(t.Count) {
			return fmt.Sprintf("%s to %s s", strconv.FormatFloat(lower, 'g', -1, 64), strconv.FormatFloat(b.upTo, 'g', -1, 64))
		}
		lower = b.upTo
	}
	return "beyond all buckets"
}
