package alerts

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const scraped = `# TYPE up gauge
up 1
# TYPE pods_total counter
pods_total{verdict="inject"} 1
# TYPE wait_seconds histogram
wait_seconds_bucket{outcome="ok",le="+Inf"} 1
wait_seconds_sum{outcome="ok"} 1
wait_seconds_count{outcome="ok"} 1
`

// TestUnknown: a rule that names what is not exposed is found, wherever it stands.
func TestUnknown(t *testing.T) {
	exposed, err := ReadExposed(strings.NewReader(scraped))
	if err != nil {
		t.Fatal(err)
	}
	for expr, want := range map[string][]string{
		`sum by (verdict, job) (rate(pods_total{verdict="inject", instance=~".+"}[5m])) > 0`:  nil,
		`histogram_quantile(0.99, sum by (outcome, le) (rate(wait_seconds_bucket[5m])))`:      nil,
		`(pods_total unless pods_total offset 10m) and on (job, instance) up offset 10m == 1`: nil,
		`sum by (verdict) (pods_total unless up)`:                                             nil,
		`sum by (verdict) (pods_total or up)`:                                                 {"up has no label verdict"},
		`pods_total and on (verdict) up`:                                                      {"up has no label verdict"},
		`absent(pods_totals)`:                                                                 {"pods_totals is not exposed"},
		`up == 1 or increase(wait_seconds[5m]) > 0`:                                           {"wait_seconds is not exposed"},
		`pods_total{reason="x"}`:                                                              {"pods_total has no label reason, but verdict"},
		`sum by (le) (rate(wait_seconds_count[5m]))`:                                          {"wait_seconds_count has no label le, but outcome"},
		`max by (reason) (last_over_time(pods_total[1h]))`:                                    {"pods_total has no label reason, but verdict"},
		`pods_total * on (verdict) wait_seconds_sum`:                                          {"wait_seconds_sum has no label verdict, but outcome"},
		`{job="a"}`: {`{job="a"} names no metric`},
		`max_over_time(sum by (which) (rate(pods_total[1m]))[10m:1m])`: {"pods_total has no label which, but verdict"},
	} {
		got, err := exposed.Unknown(expr)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v (-want +got)\n%s", expr, err, diff)
		}
	}
	if _, err := exposed.Unknown("sum by ("); err == nil {
		t.Error("half an expression was read")
	}
}
