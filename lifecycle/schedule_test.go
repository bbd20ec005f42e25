package lifecycle

import (
	"testing"
	"time"
)

func TestSchedule(t *testing.T) {
	const s = time.Second
	for _, test := range []struct {
		name            string
		delay, drain    time.Duration
		original        time.Duration
		sleep           time.Duration
		added, notAdded time.Duration
	}{
		{name: "Kubernetes' default is too short", delay: 30 * s, drain: 20 * s, original: 30 * s, sleep: 50 * s, added: 80 * s, notAdded: 55 * s},
		{name: "long enough but for the margin", delay: 30 * s, drain: 20 * s, original: 54 * s, sleep: 50 * s, added: 104 * s, notAdded: 55 * s},
		{name: "just long enough", delay: 30 * s, drain: 20 * s, original: 55 * s, sleep: 50 * s, added: 105 * s, notAdded: 55 * s},
		{name: "longer than needed", delay: 30 * s, drain: 20 * s, original: 600 * s, sleep: 50 * s, added: 650 * s, notAdded: 600 * s},
		{name: "none", delay: 30 * s, drain: 20 * s, original: 0, sleep: 50 * s, added: 50 * s, notAdded: 55 * s},
		{name: "no delay", drain: 20 * s, original: 30 * s, sleep: 20 * s, added: 50 * s, notAdded: 30 * s},
		{name: "no schedule", original: 30 * s, sleep: 0, added: 30 * s, notAdded: 30 * s},
		{name: "neither", original: 0, sleep: 0, added: 0, notAdded: 5 * s},
	} {
		d := Drain{PreDrainDelay: test.delay, DrainTime: test.drain}
		if got := d.AppSleep(); got != test.sleep {
			t.Errorf("%s: AppSleep is %s, want %s", test.name, got, test.sleep)
		}
		if got := d.GracePeriod(test.original, true); got != test.added {
			t.Errorf("%s: with the sleep %s, want %s", test.name, got, test.added)
		}
		if got := d.GracePeriod(test.original, false); got != test.notAdded {
			t.Errorf("%s: without a sleep %s, want %s", test.name, got, test.notAdded)
		}
	}
}
