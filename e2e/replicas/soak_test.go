package replicas

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"k8s.io/client-go/rest"
)

// soakTime is how long the longest of the long forms goes on, as `make soak` says; 0
// is for the short forms.
func soakTime(t *testing.T) time.Duration {
	t.Helper()
	text := os.Getenv("PILLION_SOAK")
	if text == "" {
		return 0
	}
	d, err := time.ParseDuration(text)
	if err != nil {
		t.Fatalf("PILLION_SOAK is %q; accepted is a duration as 1h", text)
	}
	return d
}

// soak says that the long forms are wanted.
func soak(t *testing.T) bool { t.Helper(); return soakTime(t) > 0 }

// TestSoak: "memory flat over an hour's soak", and "p99 added <= 20 ms at 100 creates a
// second", with a certificate of two minutes' life and a CA of four, so that there is a
// rotation all the time. The short form shows that it can be measured.
func TestSoak(t *testing.T) {
	// kubelet's own delay is up to a minute and a half.
	lasts, perSecond, kubelet := soakTime(t), 100, 20*time.Second
	if !soak(t) {
		lasts, perSecond, kubelet = 10*time.Second, 30, time.Second
	}
	s := newSystem(t, nil)
	s.startController(t, "--certificate-lifetime=2m", "--ca-lifetime=4m", "--settle=10s")
	for n := range 3 {
		s.addReplica(t, time.Second+time.Duration(n)*kubelet)
	}
	eventuallyWithin(t, 2*time.Minute, "replicas are ready", func() bool { return s.balancer.ready() == 3 })
	s.waitCalled(t)
	before := admissionTimes(t)
	l := &load{client: s.client, namespaces: []string{s.ignore, s.strict}, perSecond: perSecond}
	stop := l.start(t)
	samples := s.sample(t, lasts)
	stop()
	l.check(t, int(lasts.Seconds())*perSecond/2)
	for _, name := range []string{"inject.pillion.dev", "strict.inject.pillion.dev"} {
		took := difference(admissionTimes(t)[name], before[name])
		t.Logf("%s, by kube-apiserver's own metrics: %d calls, p50 %s, p99 %s", name, took.count, took.quantile(0.5), took.quantile(0.99))
		if took.count == 0 {
			t.Errorf("kube-apiserver counted no call of %s", name)
		}
	}
	for n, of := range samples {
		t.Logf("replica %d: RSS %v MiB, goroutines %v", n, of.memory, of.goroutines)
		if soak(t) {
			of.checkFlat(t, n)
		}
	}
}

// samples of one replica, over time.
type samples struct{ memory, goroutines []int }

// sample reads each replica's metrics some thirty times.
func (s *system) sample(t *testing.T, lasts time.Duration) []samples {
	t.Helper()
	all := make([]samples, len(s.replicas))
	for until := time.Now().Add(lasts); time.Now().Before(until); {
		sleep(t.Context(), lasts/30)
		for n, r := range s.replicas {
			all[n].memory = append(all[n].memory, int(metric(t, r.StatusURL, "process_resident_memory_bytes"))>>20)
			all[n].goroutines = append(all[n].goroutines, int(metric(t, r.StatusURL, "go_goroutines")))
		}
	}
	return all
}

// checkFlat compares the middle third with the last one: the first is for warming up.
func (s *samples) checkFlat(t *testing.T, replica int) {
	t.Helper()
	third := len(s.memory) / 3
	for name, values := range map[string][]int{"MiB of RSS": s.memory, "goroutines": s.goroutines} {
		middle, last := slices.Max(values[third:2*third]), slices.Max(values[2*third:])
		if last > middle+middle/10+2 {
			t.Errorf("replica %d: up to %d %s in the last third, %d in the one before", replica, last, name, middle)
		}
	}
}

// times is a histogram of kube-apiserver's.
type times struct {
	count   uint64
	buckets []bucket
}

type bucket struct {
	upTo  float64 // seconds
	count uint64  // of all up to there
}

// admissionTimes are how long kube-apiserver waited for each of our webhooks.
func admissionTimes(t *testing.T) map[string]times {
	t.Helper()
	client, err := rest.HTTPClientFor(world.plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	at, _, err := rest.DefaultServerUrlFor(world.plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, at.JoinPath("metrics").String(), http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := client.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	parser := expfmt.NewTextParser(model.UTF8Validation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(string(text)))
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]times{}
	for _, m := range families["apiserver_admission_webhook_admission_duration_seconds"].GetMetric() {
		labels := labelsOf(m)
		if labels["rejected"] != "false" || labels["operation"] != "CREATE" {
			continue
		}
		of := times{count: m.GetHistogram().GetSampleCount()}
		for _, b := range m.GetHistogram().GetBucket() {
			of.buckets = append(of.buckets, bucket{b.GetUpperBound(), b.GetCumulativeCount()})
		}
		found[labels["name"]] = of
	}
	return found
}

func labelsOf(m *dto.Metric) map[string]string {
	labels := map[string]string{}
	for _, pair := range m.GetLabel() {
		labels[pair.GetName()] = pair.GetValue()
	}
	return labels
}

// difference is what was counted between two readings.
func difference(after, before times) times {
	result := times{count: after.count - before.count, buckets: slices.Clone(after.buckets)}
	for n := range result.buckets {
		if n < len(before.buckets) {
			result.buckets[n].count -= before.buckets[n].count
		}
	}
	return result
}

// quantile says between which bounds it is: the buckets are far apart.
func (t times) quantile(q float64) string {
	lower := 0.0
	for _, b := range t.buckets {
		if float64(b.count) >= q*float64(t.count) {
			return fmt.Sprintf("%s to %s s", strconv.FormatFloat(lower, 'g', -1, 64), strconv.FormatFloat(b.upTo, 'g', -1, 64))
		}
		lower = b.upTo
	}
	return "beyond all buckets"
}

func eventuallyWithin(t *testing.T, d time.Duration, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	for !is() {
		if ctx.Err() != nil {
			t.Fatalf("waiting until %s: %v", what, ctx.Err())
		}
		sleep(ctx, 50*time.Millisecond)
	}
}
