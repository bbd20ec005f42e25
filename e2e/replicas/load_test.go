package replicas

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/injector"
)

// created is what became of one pod.
type created struct {
	namespace string
	at        time.Time
	took      time.Duration
	injected  bool
	err       error
}

// load creates pods at a steady rate, dry: they go through admission whole and are
// not stored.
type load struct {
	client     client.Client
	namespaces []string
	perSecond  int

	mutex sync.Mutex
	all   []created
}

// inFlight bounds the creations that are under way at a time.
const inFlight = 200

// start creates pods until the returned function is called, which returns when the
// last has been answered.
func (l *load) start(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		var running sync.WaitGroup
		defer running.Wait()
		slots := make(chan struct{}, inFlight)
		ticker := time.NewTicker(time.Second / time.Duration(l.perSecond))
		defer ticker.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			slots <- struct{}{}
			running.Go(func() {
				l.create(context.WithoutCancel(ctx), l.namespaces[n%len(l.namespaces)], n)
				<-slots
			})
		}
	}()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(stop)
	return stop
}

func (l *load) create(ctx context.Context, namespace string, n int) {
	pod := appPod(namespace, fmt.Sprintf("load-%d", n))
	started := time.Now()
	err := l.client.Create(ctx, pod, client.DryRunAll)
	c := created{namespace, started, time.Since(started), pod.Annotations[injector.StatusAnnotation] != "", err}
	l.mutex.Lock()
	l.all = append(l.all, c)
	l.mutex.Unlock()
}

// appPod asks for a sidecar.
func appPod(namespace, name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{optInLabel: "true", "app": "app"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
}

// lost are the pods that were refused, or admitted without a sidecar.
func (l *load) lost() []created {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return slices.DeleteFunc(slices.Clone(l.all), func(c created) bool { return c.injected && c.err == nil })
}

// check fails the test for each kind of loss, and where there was too little load
// to show anything.
func (l *load) check(t *testing.T, least int) {
	t.Helper()
	lost := l.lost()
	for n, c := range lost {
		if n == 5 {
			t.Errorf("... and %d more", len(lost)-n)
			break
		}
		t.Errorf("%s: a pod in %s was not injected: %v", c.at.Format("15:04:05.000"), c.namespace, c.err)
	}
	if len(l.all) < least {
		t.Errorf("%d pods only, want %d or more", len(l.all), least)
	}
	t.Logf("%d pods, %d lost, p50 %s, p99 %s", len(l.all), len(lost), l.percentile(50), l.percentile(99))
}

// percentile of the time that a creation took.
func (l *load) percentile(p int) time.Duration {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	var times []time.Duration
	for _, c := range l.all {
		times = append(times, c.took)
	}
	slices.Sort(times)
	if len(times) == 0 {
		return 0
	}
	return times[min(len(times)-1, len(times)*p/100)]
}
