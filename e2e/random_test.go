package e2e

import (
	"flag"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/injector"
)

var randomSeed = flag.Uint64("random.seed", 0, "seed of the random pods; 0 takes one from the clock")

// acceptedPods is how many random pods have to have been injected.
const acceptedPods = 150

// TestRandomPods: "random pods that kube-apiserver accepts are still accepted after
// injection; injected = original + exactly our parts". A pod that kube-apiserver
// takes without the mesh it takes with it, unless the injector refuses the pod; and
// one that is skipped is stored as without the mesh.
func TestRandomPods(t *testing.T) {
	seed := *randomSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("again with: -random.seed=%d", seed)
	installed := install(t, nil)
	w := newTwins(t, nil)
	g := newPodGenerator(seed)
	made, seen := 0, map[string]int{}
	for injected := 0; injected < acceptedPods; made++ {
		if made > 20*acceptedPods {
			t.Fatalf("of %d pods, kube-apiserver and the injector take %d only", made, injected)
		}
		pod := g.pod(made)
		plain, err := w.createIn(t, w.plain, pod)
		if err != nil {
			seen["refused by kube-apiserver"]++
			continue
		}
		pod.Namespace = w.meshed
		want := expected(t, installed.injector, pod, w.labels)
		meshed, err := w.createIn(t, w.meshed, pod)
		seen[want.Decision.Reason.Name]++
		switch {
		case (err != nil) != (want.Decision.Verdict == injector.Refuse):
			t.Fatalf("pod %d: the injector's decision is %v, and kube-apiserver says %v\n%s", made, want.Decision, err, asJSON(t, pod))
		case want.Decision.Verdict == injector.Inject:
			injected++
			checkOnlyOurParts(t, plain, meshed)
		case want.Decision.Verdict == injector.Skip:
			checkSame(t, stored(t, plain), stored(t, meshed))
		}
		if t.Failed() {
			t.Fatalf("pod %d: %s", made, asJSON(t, pod))
		}
	}
	t.Logf("%d pods: %v", made, seen)
}
