package dataplane

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

// shortSchedule is long enough for a client whose DNS is 10 s late, and short enough
// for a test.
func shortSchedule(config *v1alpha1.InjectorConfig) {
	config.Lifecycle.PreDrainDelay = &metav1.Duration{Duration: 12 * time.Second}
	config.Lifecycle.DrainTime = &metav1.Duration{Duration: 6 * time.Second}
}

// TestRollingRestart replaces all pods of a service under load, in both modes: no
// request fails. The same with pods that are killed, or told to stop at once, fails:
// so a failure would be seen.
func TestRollingRestart(t *testing.T) {
	for _, mode := range []v1alpha1.SidecarMode{v1alpha1.ModeNative, v1alpha1.ModeClassic} {
		t.Run(string(mode), func(t *testing.T) {
			w := want{mode: mode, configure: shortSchedule, probe: httpProbe(httpPort)}
			inside := sandbox.NewPod(t, "client-inside")
			client := run(t, inside, w, sandbox.App{})
			outside := sandbox.NewPod(t, "client-outside")
			d := newDeployment(t, 3, w)

			l := under(t, 200, 20_000, &d.names, client, outside, func() { d.roll(func(old *sandbox.Running) { old.Delete(t) }) })
			if len(l.failures) > 0 || l.requests < 20_000 {
				t.Errorf("rolling restart: %s", l.describe())
			}
			t.Logf("rolling restart: %d of %d requests failed", len(l.failures), l.requests)
			for name, stop := range map[string]func(*sandbox.Running){
				"killed":               func(old *sandbox.Running) { old.Kill() },
				"told to stop at once": func(old *sandbox.Running) { old.StopAtOnce() },
			} {
				l := under(t, 100, 0, &d.names, client, outside, func() { d.roll(stop); time.Sleep(2 * time.Second) })
				if len(l.failures) == 0 {
					t.Errorf("pods %s: none of %d requests failed, so this test cannot fail", name, l.requests)
				}
				t.Logf("pods %s: %d of %d requests failed", name, len(l.failures), l.requests)
			}
		})
	}
}
