package dataplane

import (
	"fmt"
	"math/rand/v2"
	"os"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// pace is how many pods change at the same time, and how often each: a thousand changes
// in `make soak`.
func pace() (pods, changes int) {
	if os.Getenv("PILLION_SOAK") != "" {
		return 4, 250
	}
	return 4, 25
}

// TestThousandChanges: whatever a MeshService is changed to, no request fails, with a
// DNS that takes up to a second for each answer, and Envoy takes every step. Some
// changes come one on the heels of another, some lead requests to where only a fallback
// saves them, and some wait for a DNS that fails.
func TestThousandChanges(t *testing.T) {
	pods, changes := pace()
	saved := &ways{taken: map[string]uint64{}}
	t.Run("pods", func(t *testing.T) {
		for n := range pods {
			t.Run(fmt.Sprint(n+1), func(t *testing.T) {
				t.Parallel()
				changeOften(t, changes, saved)
			})
		}
	})
	if !t.Failed() {
		saved.expectAll(t)
	}
}

func changeOften(t *testing.T, often int, saved *ways) {
	t.Helper()
	s := newShop(t, want{})
	s.dns.Slow(time.Second)
	of := &changes{dice: rand.New(rand.NewPCG(rand.Uint64(), 1)), faults: true}
	s.applyFirst(of)
	s.expectNone(s.underCalls(func() {
		for n := range often {
			switch {
			case n%12 == 7:
				s.waitsForDNS(of, saved)
			case n%4 == 0:
				s.apply(of.next(t))
			default:
				g := of.next(t)
				s.apply(g)
				s.await(g.Version)
				s.countSaved(g, saved)
			}
		}
		g := of.next(t)
		s.apply(g)
		s.await(g.Version)
		s.config.Write(t, nil)
		sandbox.Eventually(t, "it is gone", time.Minute, func() bool { return s.status().State == lifecycle.MeshPassthrough })
	}))
	if n := s.rejected(); n > 0 {
		t.Errorf("Envoy did not take %d updates\n%s", n, s.pod.Envoy.Logs())
	}
}

// TestComesAndGoes: a pod that serves without a document gets one and loses it, again and
// again, and no request notices. Connections that Envoy passes on byte by byte and that
// began without a document go on without one.
func TestComesAndGoes(t *testing.T) {
	t.Parallel()
	s := newShop(t, want{})
	s.dns.Slow(200 * time.Millisecond)
	of := &changes{dice: rand.New(rand.NewPCG(rand.Uint64(), 5)), faults: true}
	s.expectNone(s.underCalls(func() {
		for range 5 {
			spec := of.spec()
			// Refused ends what is not declared, as those connections are not.
			spec.UndeclaredEgress = ""
			g := of.of(t, spec)
			s.apply(g)
			s.await(g.Version)
			s.config.Write(t, nil)
			s.awaitState(lifecycle.MeshPassthrough)
		}
	}))
}
