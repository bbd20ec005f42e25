package replicas

import (
	"context"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/e2e/admissions"
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
	before := admissions.TimesOf(t, world.plane.Config)
	l := &admissions.Load{Client: s.client, Namespaces: []string{s.ignore, s.strict}, PerSecond: perSecond}
	stop := l.Start(t)
	samples := s.sample(t, lasts)
	l.Await(t, int(lasts.Seconds())*perSecond/2)
	stop()
	l.Check(t, int(lasts.Seconds())*perSecond/2)
	for _, name := range []string{"inject.pillion.dev", "strict.inject.pillion.dev"} {
		took := admissions.TimesOf(t, world.plane.Config)[name].Since(before[name])
		t.Logf("%s, by kube-apiserver's own metrics: %d calls, p50 %s, p99 %s", name, took.Count, took.Quantile(0.5), took.Quantile(0.99))
		if took.Count == 0 {
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
