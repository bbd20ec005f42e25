package meshservice

import (
	"cmp"
	"context"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pillion-mesh/pillion/lifecycle"
)

const (
	// askedAtOnce and asksPerSecond bound the questions of all services together.
	askedAtOnce   = 16
	asksPerSecond = 100
	// settledFor is after how long a pod is asked again that runs what it should, where there
	// are not too many for that. What it says then is no news, unless it was restarted.
	settledFor = 5 * time.Minute
	// silentFor is after how long one is asked again that did not answer, and longestSilence
	// after how long one that never does: each time it is twice as long.
	silentFor      = 30 * time.Second
	longestSilence = 16 * time.Minute
	// manySilent pods of a service that did not answer, and none that did, are enough to know
	// in one look at the pods: most likely nobody gets there, and each of them takes askTimeout.
	manySilent = 8
)

// settledAmong is settledFor among so many pods: half of the questions are for those that
// have something new to say.
func settledAmong(pods int) time.Duration {
	return max(settledFor, time.Duration(pods)*2*time.Second/asksPerSecond)
}

// answer is what a pod said last, or why it did not.
type answer struct {
	at time.Time
	// about is the version that its service had then.
	about   string
	status  *lifecycle.MeshStatus
	silence string
	// silent is how often it did not answer, since it last did.
	silent int
}

// settled says whether the pod runs a version and is content with it.
func (a *answer) settled(version string) bool {
	return a.status != nil && a.status.State == lifecycle.MeshApplied && a.status.Running != nil && a.status.Running.Version == version
}

// due says whether a pod is asked in this look at the pods, one of so many. No pod is settled
// while another hand has the ConfigMap: it may be given something else at any time.
func (a *answer) due(version string, foreign bool, now time.Time, pods int) bool {
	switch age := now.Sub(a.at); {
	case a.settled(version) && !foreign:
		return age >= settledAmong(pods)
	case a.silent > 0:
		return age >= min(silentFor<<min(a.silent-1, 10), longestSilence)
	default:
		return true
	}
}

// question is one pod to be asked.
type question struct {
	service types.NamespacedName
	version string
	ip      string
	answer  *answer
}

// isNews says that nothing is known of the version at this pod, which may well know.
func (q question) isNews() bool { return q.answer.about != q.version && q.answer.silent == 0 }

// questions are those that are due. What is known of pods that are gone is forgotten.
func (k *Keeper) questions(services map[types.NamespacedName]service, pods map[types.NamespacedName][]pod, answers map[types.UID]*answer) []question {
	now := k.options.Now()
	var all []question
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
			all = append(all, question{name, services[name].version, p.ip, answers[p.uid]})
		}
	}
	for uid := range answers {
		if !there[uid] {
			delete(answers, uid)
		}
	}
	due := slices.DeleteFunc(slices.Clone(all), func(q question) bool { return !q.answer.due(q.version, services[q.service].foreign, now, len(all)) })
	return inOrder(due)
}

// inOrder has those about new versions first, and takes one of each service in turn, so that
// none waits for another's many pods; of a service, the one first that was not asked for longest.
func inOrder(questions []question) []question {
	rand.Shuffle(len(questions), func(a, b int) { questions[a], questions[b] = questions[b], questions[a] })
	slices.SortStableFunc(questions, func(a, b question) int { return a.answer.at.Compare(b.answer.at) })
	type group struct {
		service types.NamespacedName
		news    bool
	}
	ranks, next := map[*answer]int{}, map[group]int{}
	for _, q := range questions {
		of := group{q.service, q.isNews()}
		ranks[q.answer] = next[of]
		next[of]++
	}
	slices.SortStableFunc(questions, func(a, b question) int {
		if a.isNews() != b.isNews() {
			if a.isNews() {
				return -1
			}
			return 1
		}
		return cmp.Compare(ranks[a.answer], ranks[b.answer])
	})
	return questions
}

// round is one look at the pods.
type round struct {
	mu sync.Mutex
	// left are the questions of each service that have not come back.
	left map[types.NamespacedName]int
	// silent pods of each service, and whether one of its pods did answer.
	silent   map[types.NamespacedName]int
	answered map[types.NamespacedName]bool
}

func newRound(questions []question) *round {
	r := &round{left: map[types.NamespacedName]int{}, silent: map[types.NamespacedName]int{}, answered: map[types.NamespacedName]bool{}}
	for _, q := range questions {
		r.left[q.service]++
	}
	return r
}

// isMute says whether the other pods of a service are not worth asking now.
func (r *round) isMute(service types.NamespacedName) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.silent[service] >= manySilent && !r.answered[service]
}

// back notes a question that has come back, with an answer or without or unasked, and says
// whether it was the last one of its service.
func (r *round) back(q question, asked bool) (last bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case !asked:
	case q.answer.silent == 0:
		r.answered[q.service] = true
	default:
		r.silent[q.service]++
	}
	r.left[q.service]--
	return r.left[q.service] == 0
}

// askAll asks for as long as a look at the pods may take, and calls done for each service as
// soon as what is known of its pods is not going to change in this look.
func (k *Keeper) askAll(ctx context.Context, questions []question, limit *rate.Limiter, done func(types.NamespacedName)) {
	r := newRound(questions)
	back := func(q question, asked bool) {
		if r.back(q, asked) && ctx.Err() == nil {
			done(q.service)
		}
	}
	next := make(chan question)
	var askers sync.WaitGroup
	for range min(askedAtOnce, len(questions)) {
		askers.Go(func() {
			for q := range next {
				k.askOne(ctx, q)
				back(q, true)
			}
		})
	}
	// A version that is stored meanwhile waits for the next look.
	enough := k.options.Now().Add(2 * k.options.Interval)
	for _, q := range questions {
		// Who is left over was not asked for longest the next time.
		if r.isMute(q.service) || k.options.Now().After(enough) || limit.Wait(ctx) != nil {
			back(q, false)
			continue
		}
		next <- q
	}
	close(next)
	askers.Wait()
}

func (k *Keeper) askOne(ctx context.Context, q question) {
	status, err := k.asker.ask(ctx, q.ip)
	now := answer{at: k.options.Now(), about: q.version, status: status, silence: silence(err)}
	result := askedOK
	if err != nil {
		now.silent, result = q.answer.silent+1, askedFailed
		k.options.Log.Debug("a sidecar did not say what it runs", "error", err)
	}
	*q.answer = now
	k.metrics.asked.WithLabelValues(result).Inc()
}
