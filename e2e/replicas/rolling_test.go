package replicas

import (
	"cmp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/e2e/admissions"
)

// roll replaces every replica as a Deployment with maxSurge 1 and maxUnavailable 0
// does: a new one has to be ready before an old one is told to stop.
func (s *system) roll(t *testing.T) {
	t.Helper()
	for _, old := range append([]*replica(nil), s.replicas...) {
		added := s.addReplica(t, 200*time.Millisecond)
		eventually(t, "the new replica is ready", func() bool { return s.balancer.isReady(added.backend) })
		s.replicas = s.replicas[1:]
		// kubelet and the endpoints learn of the deletion at the same time. The next
		// one does not wait for the end of this one.
		go s.balancer.remove(old.backend)
		if err := old.Signal(syscall.SIGTERM); err != nil {
			t.Errorf("stopping a replica: %v", err)
		}
	}
}

// TestRollingUpdate: "three replicas rolled 20 times at 200 creates a second with no
// pod missed". The short form is two rolls at 50.
func TestRollingUpdate(t *testing.T) {
	rolls, perSecond := 2, 50
	if soak(t) {
		rolls, perSecond = 20, 200
	}
	s := newSystem(t, map[string]any{"drainSeconds": 95})
	s.startController(t)
	for range 3 {
		s.addReplica(t, 200*time.Millisecond)
	}
	s.waitReady(t, 3)
	s.waitCalled(t)
	l := &admissions.Load{Client: s.client, Namespaces: []string{s.ignore, s.strict}, PerSecond: perSecond}
	stop := l.Start(t)
	for n := range rolls {
		l.Await(t, (n+1)*perSecond/2) // so that it is under way
		s.roll(t)
	}
	l.Await(t, rolls*perSecond)
	stop()
	l.Check(t, rolls*perSecond)
}

// answered is how many pods the replica has decided on.
func (r *replica) answered(t *testing.T) float64 {
	t.Helper()
	return metric(t, r.StatusURL, `pillion_webhook_admissions_total{dry_run="true",reason="Injected",verdict="inject"}`)
}

// TestWithoutDelay is the control: replicas that end at once, while kube-proxy still
// sends to them, lose pods, so the test above can fail.
func TestWithoutDelay(t *testing.T) {
	s := newSystem(t, map[string]any{"shutdownDelaySeconds": 0})
	s.startController(t)
	for range 2 {
		s.addReplica(t, 200*time.Millisecond)
	}
	s.waitReady(t, 2)
	s.waitCalled(t)
	l := &admissions.Load{Client: s.client, Namespaces: []string{s.ignore, s.strict}, PerSecond: 100}
	stop := l.Start(t)
	// One roll may be lucky, twenty are not.
	for n := 0; n < 20 && len(l.Lost()) == 0; n++ {
		s.roll(t)
	}
	stop()
	if lost := len(l.Lost()); lost == 0 {
		t.Error("no pod was lost: the balancer does not show what it is for")
	}
}

// TestReplicaHangs: "one of three stopped with SIGSTOP". What is sent to it waits
// until timeoutSeconds and goes by the failurePolicy. That ends when the readiness
// probe has failed; nobody waits longer, and kube-apiserver counts what was missed.
func TestReplicaHangs(t *testing.T) {
	const timeout = 2 * time.Second
	s := newSystem(t, map[string]any{"timeoutSeconds": int(timeout.Seconds())})
	s.startController(t)
	for range 3 {
		s.addReplica(t, 200*time.Millisecond)
	}
	s.waitReady(t, 3)
	s.waitCalled(t)
	l := &admissions.Load{Client: s.client, Namespaces: []string{s.ignore, s.strict}, PerSecond: 30}
	stop := l.Start(t)
	sleep(t.Context(), time.Second)
	// A connection stays with its replica, so that not all have work.
	hung := slices.MaxFunc(s.replicas, func(a, b *replica) int { return cmp.Compare(a.answered(t), b.answered(t)) })
	if err := hung.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = hung.Signal(syscall.SIGCONT) }) // so that it can be stopped
	eventually(t, "it is out of the Service", func() bool { return s.balancer.ready() == 2 })
	sleep(t.Context(), timeout+time.Second)
	out := time.Now()
	sleep(t.Context(), 3*time.Second)
	stop()

	missed, refused := 0, 0
	for _, c := range l.Lost() {
		switch {
		case c.At.After(out):
			// One connection that was opened before may still lead there.
			t.Logf("lost after the replica was out of the Service: %v", c.Err)
		case c.Err == nil && c.Namespace == s.strict:
			t.Errorf("a pod without a sidecar in a strict namespace")
		case c.Err != nil && (c.Namespace != s.strict || !strings.Contains(c.Err.Error(), "strict.inject.pillion.dev")):
			t.Errorf("a pod in %s: %v", c.Namespace, c.Err)
		}
		if c.Err == nil {
			missed++
		} else {
			refused++
		}
	}
	if missed+refused == 0 {
		t.Errorf("the replica was not missed")
	}
	if most := len(l.All()) / 2; missed+refused > most {
		t.Errorf("%d of %d pods were lost to one of three replicas", missed+refused, len(l.All()))
	}
	t.Logf("%d pods, %d missed, %d refused, slowest %s", len(l.All()), missed, refused, l.Percentile(100))
	for _, c := range l.All() {
		if c.Took > timeout+30*time.Second {
			t.Errorf("a creation took %s", c.Took)
		}
	}
}

// TestScaleUp: connections stay with the replica that they were opened to, so their age
// is bounded, and a new replica gets its share.
func TestScaleUp(t *testing.T) {
	s := newSystem(t, map[string]any{"extraArgs": []any{"--max-connection-age=500ms"}})
	s.startController(t)
	s.addReplica(t, 200*time.Millisecond)
	s.waitReady(t, 1)
	s.waitCalled(t)
	l := &admissions.Load{Client: s.client, Namespaces: []string{s.ignore, s.strict}, PerSecond: 50}
	stop := l.Start(t)
	sleep(t.Context(), time.Second)
	for range 2 {
		s.addReplica(t, 200*time.Millisecond)
	}
	s.waitReady(t, 3) // their metrics can be asked for
	eventually(t, "each replica has work", func() bool {
		for _, r := range s.replicas {
			if r.answered(t) < 20 {
				return false
			}
		}
		return true
	})
	l.Await(t, 50)
	stop()
	l.Check(t, 50)
}
