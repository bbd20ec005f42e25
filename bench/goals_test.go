package bench

import (
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"testing"
)

// allocationsHeld is what an answer about the service pod may allocate. The goal
// is 150, which is not reached; this keeps it from growing.
const allocationsHeld = 260

func TestAllocationsDoNotGrow(t *testing.T) {
	handler := newAdmission(t)
	for _, c := range corpus(t, handler) {
		if c.name != "service" {
			continue
		}
		got := testing.AllocsPerRun(50, func() { handler.ServeHTTP(httptest.NewRecorder(), c.request()) })
		if got > allocationsHeld {
			t.Errorf("the service pod takes %v allocations; held are %d", got, allocationsHeld)
		}
	}
}

// What a pod's size does not change: how many operations there are.
func TestOperationsDoNotGrowWithThePod(t *testing.T) {
	handler := newAdmission(t)
	want := 0
	for _, scale := range []int{1, 4, 16} {
		s := size{containers: 1, env: 5 * scale, volumes: 2 * scale, annotations: 3 * scale}
		c := newCase(t, handler, fmt.Sprintf("scale %d", scale), encode(t, reviewOf(t, podOf(s))))
		operations := operationsOf(t, c)
		if want == 0 {
			want = len(operations)
		}
		if len(operations) != want || want == 0 {
			t.Errorf("%s: %d operations, and %d for the smallest pod", c.name, len(operations), want)
		}
	}
}

type operation struct {
	Value json.RawMessage `json:"value"`
}

func operationsOf(t *testing.T, c *reviewCase) []operation {
	t.Helper()
	var operations []operation
	if err := json.Unmarshal(c.patch, &operations); err != nil {
		t.Fatalf("%s: reading the patch: %v", c.name, err)
	}
	return operations
}

// A patch is what it adds and the words around that. The goal is a tenth more; each
// probe that is led past the redirect takes a path longer than its value, so that
// up to three tenths are held.
func TestPatchIsWhatItAdds(t *testing.T) {
	for _, c := range corpus(t, newAdmission(t)) {
		if c.patch == nil {
			continue
		}
		added := 0
		for _, o := range operationsOf(t, c) {
			added += len(o.Value)
		}
		if 10*len(c.patch) > 13*added {
			t.Errorf("%s: a patch of %d bytes adds %d", c.name, len(c.patch), added)
		}
	}
}
