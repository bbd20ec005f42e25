package dataplane

import (
	"math/rand/v2"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/e2e/injected"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// kills is how often something is killed.
func kills() int {
	if os.Getenv("PILLION_SOAK") != "" {
		return 50
	}
	return 8
}

// TestKilledInTheMiddle: whenever pillion-proxy or Envoy is killed while a generation is
// being applied, the next container has one in force as a whole: the one before, or the
// new one. Here the pod's folder has no help for it then, only another service's.
func TestKilledInTheMiddle(t *testing.T) {
	t.Parallel()
	s := newShop(t, want{})
	s.dns.Slow(100 * time.Millisecond)
	of := &changes{dice: rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 4))}
	foreign := *of.next(t)
	foreign.Service = "cart"
	before, resumed := "", map[bool]int{}
	for n := range kills() {
		next := of.next(t)
		s.apply(next)
		time.Sleep(rand.N(700 * time.Millisecond)) // a random moment
		victim := s.pod.Envoy.PID()
		if n%2 == 0 {
			victim = childOf(t, victim)
		}
		if err := unix.Kill(victim, unix.SIGKILL); err != nil {
			t.Fatal(err)
		}
		s.pod.Envoy.Wait(t, 10*time.Second)
		s.apply(&foreign)
		s.restart()
		is := s.awaitState(lifecycle.MeshRejected)
		running := ""
		if is.Running != nil {
			running = is.Running.Version
		}
		if running != before && running != next.Version {
			t.Fatalf("running %q, want %q as before or %q as was being applied", running, before, next.Version)
		}
		resumed[running == next.Version]++
		s.expectOne(running)
		before = running
	}
	t.Logf("resumed with the new one %d times, with the one before %d times", resumed[true], resumed[false])
	last := of.next(t)
	s.apply(last)
	s.await(last.Version)
}

// restart starts the sidecar container once more, as kubelet does.
func (s *shop) restart() {
	s.t.Helper()
	s.pod.Envoy = s.pod.StartContainer(s.t, s.pod.Sidecar(), images(s.t, false).Envoy, s.pod.Volumes)
	if out, err := s.pod.Envoy.Exec(s.t.Context(), s.pod.Sidecar().StartupProbe.Exec.Command...); err != nil {
		s.t.Fatalf("%v: %s\n%s", err, out, s.pod.Envoy.Logs())
	}
}

func (s *shop) awaitState(state lifecycle.MeshState) (is lifecycle.MeshStatus) {
	s.t.Helper()
	sandbox.Eventually(s.t, "it is "+string(state), time.Minute, func() bool {
		is = s.status()
		return is.State == state
	})
	return is
}

// expectOne expects Envoy to have everything of one version.
func (s *shop) expectOne(version string) {
	s.t.Helper()
	if version == "" {
		version = (bootstrap.Config{}).Version()
	}
	texts := injected.Admin(s.t, s.pod, http.MethodGet, "/stats?type=TextReadouts&filter=version_text")
	if strings.Count(texts, "version_text") < 4 {
		s.t.Errorf("something is not loaded:\n%s", texts)
	}
	for line := range strings.Lines(texts) {
		if !strings.HasSuffix(strings.TrimSpace(line), `"`+version+`"`) {
			s.t.Errorf("%s is not of %s", strings.TrimSpace(line), version)
		}
	}
}
