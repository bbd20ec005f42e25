package meshservice

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/url"
	"syscall"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"
)

// watchPods looks at the pods every interval, and soon after a version was stored, until ctx is
// done.
func (k *Keeper) watchPods(ctx context.Context) error {
	if !k.cache.WaitForCacheSync(ctx) {
		return nil
	}
	answers := map[types.UID]*answer{}
	limit := rate.NewLimiter(asksPerSecond, askedAtOnce)
	for ctx.Err() == nil {
		if err := k.look(ctx, answers, limit); err != nil && ctx.Err() == nil {
			return err
		}
		// Not more often than that, however many versions are stored.
		pause(ctx, k.options.Interval/5, nil)
		// Controllers of several releases are not to ask in step.
		pause(ctx, time.Duration((0.6+0.4*rand.Float64())*float64(k.options.Interval)), k.wake) //nolint:gosec // jitter
	}
	return nil
}

// pause waits, but no longer than until something is in wake.
func pause(ctx context.Context, d time.Duration, wake <-chan struct{}) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-timer.C:
	case <-wake:
	}
}

// look asks the pods that may have something new to say, and counts those of each service as
// soon as they have.
func (k *Keeper) look(ctx context.Context, answers map[types.UID]*answer, limit *rate.Limiter) error {
	services := k.known()
	pods, err := k.podsOf(ctx, services)
	if err != nil {
		return err
	}
	questions := k.questions(services, pods, answers)
	asked := newRound(questions).left
	tallies := map[types.NamespacedName]*tally{}
	tell := func(name types.NamespacedName) {
		k.tell(ctx, name, count(services[name].version, pods[name], answers))
	}
	for name, s := range services {
		if s.version != "" && asked[name] == 0 {
			tell(name)
		}
	}
	k.askAll(ctx, questions, limit, tell)
	if ctx.Err() != nil {
		return nil //nolint:nilerr // it is over
	}
	for name, s := range services {
		if s.version != "" {
			tallies[name] = count(s.version, pods[name], answers)
		}
	}
	k.metrics.setPods(tallies)
	k.metrics.last.Set(float64(k.options.Now().Unix()))
	return nil
}

// silence is why a pod did not answer, in words that are the same for the same reason: they are
// in a status, which is not to change each time.
func silence(err error) string {
	var asked *url.Error
	switch {
	case err == nil:
		return ""
	case !errors.As(err, &asked):
		return err.Error() // our own words
	case asked.Timeout():
		return "it did not answer in " + askTimeout.String()
	case errors.Is(err, syscall.ECONNREFUSED):
		return "it refused the connection"
	case errors.Is(err, syscall.EHOSTUNREACH) || errors.Is(err, syscall.ENETUNREACH):
		return "there is no way to it"
	default:
		return "the connection failed"
	}
}
