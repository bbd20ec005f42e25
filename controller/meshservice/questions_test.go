package meshservice

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	dto "github.com/prometheus/client_model/go"
	"golang.org/x/time/rate"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pillion-mesh/pillion/lifecycle"
	"github.com/pillion-mesh/pillion/metric"
)

func TestWhoIsAskedAgain(t *testing.T) {
	now := time.Now()
	ago := func(d time.Duration, a *answer) *answer {
		a.at = now.Add(-d)
		return a
	}
	settled := said(lifecycle.MeshApplied, "v", "v", "")
	silent := func(times int) *answer { return &answer{silence: "no", silent: times} }
	for name, test := range map[string]struct {
		answer  *answer
		pods    int
		foreign bool
		due     bool
	}{
		"never asked":                                 {&answer{}, 1, false, true},
		"settled":                                     {ago(time.Minute, settled), 1, false, false},
		"settled long ago":                            {ago(6*time.Minute, said(lifecycle.MeshApplied, "v", "v", "")), 1, false, true},
		"settled long ago, one of very many":          {ago(19*time.Minute, said(lifecycle.MeshApplied, "v", "v", "")), 60_000, false, false},
		"settled longer ago, one of very many":        {ago(21*time.Minute, said(lifecycle.MeshApplied, "v", "v", "")), 60_000, false, true},
		"runs another":                                {ago(time.Second, said(lifecycle.MeshApplied, "u", "u", "")), 1, false, true},
		"rejected":                                    {ago(time.Second, said(lifecycle.MeshRejected, "v", "v", "")), 1, false, true},
		"silent":                                      {ago(time.Second, silent(1)), 1, false, false},
		"silent for some time":                        {ago(time.Minute, silent(1)), 1, false, true},
		"silent three times":                          {ago(time.Minute, silent(3)), 1, false, false},
		"silent three times, and for longer":          {ago(2*time.Minute, silent(3)), 1, false, true},
		"silent for ever, and just now":               {ago(time.Minute, silent(1_000_000)), 1, false, false},
		"silent for ever":                             {ago(17*time.Minute, silent(1_000_000)), 1, false, true},
		"passes traffic through":                      {ago(time.Second, said(lifecycle.MeshPassthrough, "", "", "")), 1, false, true},
		"settled, but another hand has the ConfigMap": {ago(time.Second, said(lifecycle.MeshApplied, "v", "v", "")), 1, true, true},
		"silent while another hand has the ConfigMap": {ago(time.Second, silent(1)), 1, true, false},
	} {
		if got := test.answer.due("v", test.foreign, now, test.pods); got != test.due {
			t.Errorf("%s: due %t, want %t", name, got, test.due)
		}
	}
}

func named(name string) types.NamespacedName { return types.NamespacedName{Namespace: "n", Name: name} }

// TestWhoIsAskedFirst: a version that is new before everything else, each service in turn,
// and in a service who was not asked for longest.
func TestWhoIsAskedFirst(t *testing.T) {
	now := time.Now()
	var questions []question
	add := func(service, ip, about string, minutes, silent int) {
		questions = append(questions, question{named(service), "v2", ip, &answer{at: now.Add(-time.Duration(minutes) * time.Minute), about: about, silent: silent}})
	}
	for n := range 4 {
		add("large", fmt.Sprint("large", 4-n), "v2", 10+n, 0)
	}
	add("small", "small1", "v2", 1, 0)
	add("changed", "changed1", "v1", 3, 0)
	add("changed", "changed2", "v1", 2, 0)
	add("silent", "silent1", "v1", 1, 1)
	var order []string
	for _, q := range inOrder(questions) {
		order = append(order, q.ip)
	}
	// Those of one rank may be in any order.
	slices.Sort(order[2:5])
	if diff := cmp.Diff([]string{"changed1", "changed2", "large1", "silent1", "small1", "large2", "large3", "large4"}, order); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestNewsDoNotWaitForWhatIsKnown: the turns of a service are those of its pods that are as
// new as each other.
func TestNewsDoNotWaitForWhatIsKnown(t *testing.T) {
	now := time.Now()
	of := func(service, ip, about string, minutes int) question {
		return question{named(service), "v2", ip, &answer{at: now.Add(-time.Duration(minutes) * time.Minute), about: about}}
	}
	order := inOrder([]question{of("mixed", "known", "v2", 20), of("mixed", "new", "v1", 1), of("other", "first", "v1", 3), of("other", "second", "v1", 2)})
	if order[2].ip != "second" || order[3].ip != "known" {
		t.Errorf("asked third and fourth are %s and %s, want the other's second and what is known", order[2].ip, order[3].ip)
	}
}

// TestQuestions: of the pods that can be asked those are that may have something new to say,
// each among as many as there are. What is known of them is kept, and of no others.
func TestQuestions(t *testing.T) {
	now := time.Now()
	k := &Keeper{options: Options{Now: func() time.Time { return now }}}
	settled := func(ago time.Duration) *answer {
		a := said(lifecycle.MeshApplied, "v2", "v2", "")
		a.at, a.about = now.Add(-ago), "v2"
		return a
	}
	services := map[types.NamespacedName]service{named("shop"): {version: "v2"}, named("foreign"): {version: "v2", foreign: true}}
	pods := map[types.NamespacedName][]pod{
		named("shop"):    {{"recent", "recent", "recent", true}, {"old", "old", "old", true}, {"new", "new", "new", true}, {"unmounted", "unmounted", "unmounted", false}, {"nowhere", "nowhere", "", true}},
		named("foreign"): {{"foreign", "foreign", "foreign", true}},
	}
	answers := map[types.UID]*answer{"recent": settled(time.Minute), "old": settled(6 * time.Minute), "foreign": settled(time.Minute), "gone": settled(time.Minute)}
	old := answers["old"]
	asked := func() (all []string) {
		for _, q := range k.questions(services, pods, answers) {
			if q.version != "v2" || q.answer == nil || q.answer != answers[types.UID(q.ip)] {
				t.Errorf("the question is %+v", q)
			}
			all = append(all, q.ip)
		}
		slices.Sort(all[1:])
		return all
	}
	// One of which nothing is known comes first.
	if diff := cmp.Diff([]string{"new", "foreign", "old"}, asked()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	if known := slices.Sorted(maps.Keys(answers)); !slices.Equal(known, []types.UID{"foreign", "new", "old", "recent"}) || answers["old"] != old {
		t.Errorf("it is known of %q", known)
	}
	for n := range 20_000 {
		name := fmt.Sprint("many", n)
		pods[named("many")] = append(pods[named("many")], pod{types.UID(name), name, name, true})
	}
	services[named("many")] = service{version: "v2"}
	if slices.Contains(asked(), "old") {
		t.Error("among many pods one is asked as often as among few")
	}
}

// TestSilentPodsKeepNobodyWaiting: the pods of one service cannot be reached. What those of
// another say is told before that is known of all of them, and not all of them are tried.
func TestSilentPodsKeepNobodyWaiting(t *testing.T) {
	const silentPods = 100
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"running":{"version":"v2"},"state":"Applied"}`)
	}))
	t.Cleanup(server.Close)
	var mu sync.Mutex
	var tried int
	told := make(chan struct{})
	k := &Keeper{
		options: Options{Interval: time.Minute, Now: time.Now, Log: slog.New(slog.DiscardHandler)},
		metrics: NewMetrics(metric.NewSet("controller", "v")),
		asker: newAsker(15020, func(ctx context.Context, network, address string) (net.Conn, error) {
			var d net.Dialer
			if strings.HasPrefix(address, "10.0.0.") {
				return d.DialContext(ctx, network, server.Listener.Addr().String())
			}
			mu.Lock()
			tried++
			mu.Unlock()
			// The other one's words are not to depend on when these end.
			select {
			case <-told:
			case <-t.Context().Done():
			}
			return nil, &net.OpError{Op: "dial", Err: context.DeadlineExceeded}
		}),
	}
	services := map[types.NamespacedName]service{named("silent"): {version: "v2"}, named("well"): {version: "v2"}}
	pods := map[types.NamespacedName][]pod{}
	for n := range silentPods {
		pods[named("silent")] = append(pods[named("silent")], pod{types.UID(fmt.Sprint("s", n)), fmt.Sprint("s", n), fmt.Sprint("10.1.0.", n), true})
	}
	for n := range 3 {
		pods[named("well")] = append(pods[named("well")], pod{types.UID(fmt.Sprint("w", n)), fmt.Sprint("w", n), fmt.Sprint("10.0.0.", n), true})
	}
	answers := map[types.UID]*answer{}
	var order []string
	k.askAll(t.Context(), k.questions(services, pods, answers), rate.NewLimiter(rate.Inf, 1), func(service types.NamespacedName) {
		mu.Lock()
		defer mu.Unlock()
		counted := count("v2", pods[service], answers)
		order = append(order, fmt.Sprintf("%s: %d current, %d unknown", service.Name, counted.pods.Current, counted.pods.Unknown))
		if service.Name == "well" {
			close(told)
		}
	})
	if diff := cmp.Diff([]string{"well: 3 current, 0 unknown", "silent: 0 current, 100 unknown"}, order); diff != "" {
		t.Errorf("what was told (-want +got):\n%s", diff)
	}
	// Those on the way when it became clear are tried, too.
	if most := manySilent + askedAtOnce; tried > most {
		t.Errorf("%d of the pods that cannot be reached were tried, want %d at most", tried, most)
	}
}

// TestMuteIsWhoNeverAnswers: one that did answer tells that others of its service may, too.
func TestMuteIsWhoNeverAnswers(t *testing.T) {
	r := newRound(nil)
	for range manySilent {
		r.back(question{service: named("mute"), answer: &answer{silent: 1}}, true)
		r.back(question{service: named("some"), answer: &answer{silent: 1}}, true)
		r.back(question{service: named("left"), answer: &answer{silent: 1}}, false)
	}
	r.back(question{service: named("some"), answer: &answer{}}, true)
	for service, want := range map[string]bool{"mute": true, "some": false, "left": false} {
		if r.isMute(named(service)) != want {
			t.Errorf("%s: mute %t, want %t", service, !want, want)
		}
	}
}

// asking is a Keeper whose pods are all behind one server, which dial is asked for.
func asking(t *testing.T, dial func() error) *Keeper {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"running":{"version":"v2"},"state":"Applied"}`)
	}))
	t.Cleanup(server.Close)
	return &Keeper{
		options: Options{Interval: time.Minute, Now: time.Now, Log: slog.New(slog.DiscardHandler)},
		metrics: NewMetrics(metric.NewSet("controller", "v")),
		asker: newAsker(15020, func(ctx context.Context, network, _ string) (net.Conn, error) {
			if err := dial(); err != nil {
				return nil, err
			}
			var d net.Dialer
			return d.DialContext(ctx, network, server.Listener.Addr().String())
		}),
	}
}

// TestSilenceIsCounted: how often a pod did not answer since it last did, which its next
// question waits for.
func TestSilenceIsCounted(t *testing.T) {
	failing := errors.New("no")
	k := asking(t, func() error { return failing })
	q := question{named("shop"), "v2", "10.0.0.1", &answer{}}
	for _, want := range []int{1, 2, 0} {
		if want == 0 {
			failing = nil
		}
		k.askOne(t.Context(), q)
		if a := q.answer; a.silent != want || a.about != "v2" || a.at.IsZero() || (a.status != nil) != (want == 0) || (a.silence == "") != (want == 0) {
			t.Errorf("after %d times without an answer: %+v", want, *a)
		}
	}
	for result, want := range map[string]float64{askedFailed: 2, askedOK: 1} {
		var counted dto.Metric
		if err := k.metrics.asked.WithLabelValues(result).Write(&counted); err != nil || counted.GetCounter().GetValue() != want {
			t.Errorf("%s is counted %g times, want %g: %v", result, counted.GetCounter().GetValue(), want, err)
		}
	}
}

// TestALookEnds: who is not asked in the time of one look waits for the next, and what is
// known is told all the same; but for when everything ends.
func TestALookEnds(t *testing.T) {
	var mu sync.Mutex
	now, tried := time.Now(), 0
	k := asking(t, func() error {
		mu.Lock()
		defer mu.Unlock()
		tried, now = tried+1, now.Add(3*time.Minute)
		return nil
	})
	k.options.Now = func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		return now
	}
	services, pods := map[types.NamespacedName]service{named("shop"): {version: "v2"}}, map[types.NamespacedName][]pod{}
	for n := range 100 {
		name := fmt.Sprint("10.0.0.", n)
		pods[named("shop")] = append(pods[named("shop")], pod{types.UID(name), name, name, true})
	}
	told := 0
	ask := func(ctx context.Context) {
		k.askAll(ctx, k.questions(services, pods, map[types.UID]*answer{}), rate.NewLimiter(rate.Inf, 1), func(types.NamespacedName) {
			mu.Lock()
			defer mu.Unlock()
			told++
		})
	}
	ask(t.Context())
	if most := 2 * askedAtOnce; tried == 0 || tried > most || told != 1 {
		t.Errorf("%d pods were asked, want %d at most, and it was told %d times", tried, most, told)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if ask(ended); told != 1 {
		t.Error("it is told of what nobody asked for")
	}
}
