package meshservice

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/url"
	"sync"
	"syscall"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pillion-mesh/pillion/lifecycle"
)

const (
	// askedAtOnce and asksPerSecond bound the questions of all services together.
	askedAtOnce   = 16
	asksPerSecond = 100
	// settledFor is after how long a pod is asked again that runs what it should. What it
	// says then is no news, unless it was restarted.
	settledFor = 5 * time.Minute
	// silentFor is after how long one is asked again that did not answer.
	silentFor = 30 * time.Second
)

// answer is what a pod said last, or why it did not.
type answer struct {
	at      time.Time
	status  *lifecycle.MeshStatus
	silence string
}

// settled says whether the pod runs a version and is content with it.
func (a *answer) settled(version string) bool {
	return a.status != nil && a.status.State == lifecycle.MeshApplied && a.status.Running != nil && a.status.Running.Version == version
}

// due says whether a pod is asked in this look at the pods. No pod is settled while another
// hand has the ConfigMap: it may be given something else at any time.
func (a *answer) due(version string, foreign bool, now time.Time) bool {
	switch age := now.Sub(a.at); {
	case a.settled(version) && !foreign:
		return age >= settledFor
	case a.silence != "":
		return age >= silentFor
	default:
		return true
	}
}

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

// look asks the pods that may have something new to say, and counts all of them.
func (k *Keeper) look(ctx context.Context, answers map[types.UID]*answer, limit *rate.Limiter) error {
	services := k.known()
	pods, err := k.podsOf(ctx, services)
	if err != nil {
		return err
	}
	k.askAll(ctx, k.questions(services, pods, answers), limit)
	if ctx.Err() != nil { // who has not answered is not silent
		return fmt.Errorf("asking the pods: %w", ctx.Err())
	}
	tallies := map[types.NamespacedName]*tally{}
	for name, s := range services {
		if s.version != "" {
			tallies[name] = count(s.version, pods[name], answers)
		}
	}
	k.metrics.setPods(tallies)
	k.metrics.last.Set(float64(k.options.Now().Unix()))
	for name, counted := range tallies {
		k.tell(ctx, name, counted)
	}
	return nil
}

// question is one pod to be asked.
type question struct {
	ip     string
	answer *answer
}

// questions are asked in an order that is another one each time, so that many pods that do
// not answer do not keep the same others waiting. What is known of pods that are gone is
// forgotten.
func (k *Keeper) questions(services map[types.NamespacedName]service, pods map[types.NamespacedName][]pod, answers map[types.UID]*answer) []question {
	now := k.options.Now()
	var questions []question
	there := map[types.UID]bool{}
	for name, list := range pods {
		for _, p := range list {
			if !p.mounts || p.ip == "" {
				continue
			}
			there[p.uid] = true
			if answers[p.uid] == nil {
				answers[p.uid] = &answer{}
			}
			if a := answers[p.uid]; a.due(services[name].version, services[name].foreign, now) {
				questions = append(questions, question{p.ip, a})
			}
		}
	}
	for uid := range answers {
		if !there[uid] {
			delete(answers, uid)
		}
	}
	rand.Shuffle(len(questions), func(a, b int) { questions[a], questions[b] = questions[b], questions[a] })
	return questions
}

func (k *Keeper) askAll(ctx context.Context, questions []question, limit *rate.Limiter) {
	next := make(chan question)
	var askers sync.WaitGroup
	for range min(askedAtOnce, len(questions)) {
		askers.Go(func() {
			for q := range next {
				status, err := k.asker.ask(ctx, q.ip)
				*q.answer = answer{k.options.Now(), status, silence(err)}
				result := askedOK
				if err != nil {
					result = askedFailed
					k.options.Log.Debug("a sidecar did not say what it runs", "error", err)
				}
				k.metrics.asked.WithLabelValues(result).Inc()
			}
		})
	}
	for _, q := range questions {
		if limit.Wait(ctx) != nil {
			break
		}
		next <- q
	}
	close(next)
	askers.Wait()
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
