package dataplane

import (
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// pace is how many pods change at the same time, and how many documents come into force
// in each: a thousand in `make soak`.
func pace() (pods, changes int) {
	if os.Getenv("PILLION_SOAK") != "" {
		return 4, 250
	}
	return 4, 25
}

// TestThousandChanges: whatever a MeshService is changed to, no request fails, with a
// DNS that takes up to a second for each answer, and Envoy takes every step. Some
// changes come one on the heels of another, some lead requests to where only a fallback
// saves them, some wait for a DNS that fails, and some are broken and refused.
func TestThousandChanges(t *testing.T) {
	pods, often := pace()
	saved := &ways{taken: map[string]uint64{}}
	t.Run("pods", func(t *testing.T) {
		for n := range pods {
			t.Run(fmt.Sprint(n+1), func(t *testing.T) {
				t.Parallel()
				changeOften(t, newChanges(t, uint64(n)), often, saved)
			})
		}
	})
	if !t.Failed() {
		saved.expectAll(t)
	}
}

func changeOften(t *testing.T, of *changes, often int, saved *ways) {
	t.Helper()
	s := newShop(t, want{})
	s.dns.Slow(time.Second)
	var overtaken, waited, refused int
	var asBroken uint64 // updates that Envoy did not take
	s.applyFirst(of)
	s.expectNone(s.underCalls(func() {
		running := s.changeTo(of, saved)
		for n, inForce := 0, 1; inForce < often; n++ {
			switch n % 12 {
			case 3:
				s.apply(of.next(t)) // the next one is on its heels
				overtaken++
			case 7:
				if g := s.waitsForDNS(of, saved); g != nil {
					running = g
					inForce++
				}
				waited++
			case 2, 10:
				before := s.rejected()
				s.isRefused(of, broken()[of.dice.IntN(len(broken()))], running)
				asBroken += s.rejected() - before
				refused++
			default:
				running = s.changeTo(of, saved)
				inForce++
			}
		}
		s.config.Write(t, nil)
		s.awaitState(lifecycle.MeshPassthrough)
	}))
	t.Logf("%d documents in force, %d overtaken by the next one, %d that waited for DNS, %d refused", often, overtaken, waited, refused)
	if n := s.rejected() - asBroken; n > 0 {
		t.Errorf("Envoy did not take %d updates of documents that were not broken\n%s", n, s.pod.Envoy.Logs())
	}
}

// changeTo has the next document come into force, and requests take its ways.
func (s *shop) changeTo(of *changes, saved *ways) *bootstrap.Generation {
	s.t.Helper()
	g := of.next(s.t)
	s.apply(g)
	s.await(g.Version)
	s.countSaved(g, saved)
	return g
}

// TestComesAndGoes: a pod that serves without a document gets one and loses it, again and
// again, and no request notices. Connections that Envoy passes on byte by byte and that
// began without a document go on without one.
func TestComesAndGoes(t *testing.T) {
	t.Parallel()
	s := newShop(t, want{})
	s.dns.Slow(200 * time.Millisecond)
	of := newChanges(t, 0)
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
