package meshservice

import (
	"testing"
	"time"
)

// TestLeftoverWait: what goes one by one is waited for as long as some go; what stays is not, and
// what comes in between makes it no longer.
func TestLeftoverWait(t *testing.T) {
	t.Parallel()
	type look struct {
		after time.Duration // since the first
		left  int
		over  bool
	}
	for name, looks := range map[string][]look{
		"one stays":         {{0, 1, false}, {59 * time.Second, 1, false}, {time.Minute, 1, true}},
		"they go slowly":    {{0, 3, false}, {50 * time.Second, 2, false}, {100 * time.Second, 1, false}, {159 * time.Second, 1, false}, {160 * time.Second, 1, true}},
		"some come and go":  {{0, 1, false}, {30 * time.Second, 2, false}, {50 * time.Second, 1, false}, {time.Minute, 1, true}},
		"it was not looked": {{0, 1, false}, {time.Hour, 1, true}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			wait, began := leftoverWait{patience: time.Minute}, time.Unix(1000, 0)
			for _, l := range looks {
				if over := wait.isOver(l.left, began.Add(l.after)); over != l.over {
					t.Errorf("with %d left after %s, it is over: %t, want %t", l.left, l.after, over, l.over)
				}
			}
		})
	}
}
