// Package admissions loads kube-apiserver with creations of pods, for tests, and tells
// what became of each and how long kube-apiserver waited for our webhooks.
package admissions

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

// OptIn is the label that asks for a sidecar, on namespaces and pods.
const OptIn = "service-mesh-enabled"

// Created is what became of one pod.
type Created struct {
	Namespace string
	At        time.Time
	Took      time.Duration
	Injected  bool
	// Err is nil where the pod was admitted.
	Err error
}

// Load creates pods at a steady rate, dry: they go through admission whole and are
// not stored.
type Load struct {
	Client client.Client
	// Namespaces take turns.
	Namespaces []string
	PerSecond  int
	// StoreEach says that one of so many pods is stored, for real; 0 is none. A gate
	// keeps it from being scheduled.
	StoreEach int

	mutex sync.Mutex
	all   []Created
}

// inFlight bounds the creations that are under way at a time.
const inFlight = 200

// Start creates pods until the returned function is called, which returns when the
// last has been answered.
func (l *Load) Start(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		var running sync.WaitGroup
		defer running.Wait()
		slots := make(chan struct{}, inFlight)
		ticker := time.NewTicker(time.Second / time.Duration(l.PerSecond))
		defer ticker.Stop()
		for n := 0; ; n++ {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
			slots <- struct{}{}
			running.Go(func() {
				l.Create(context.WithoutCancel(ctx), l.Namespaces[n%len(l.Namespaces)], n)
				<-slots
			})
		}
	}()
	var once sync.Once
	stop = func() { once.Do(func() { cancel(); <-done }) }
	t.Cleanup(stop)
	return stop
}

// Create creates the load's pod of this number.
func (l *Load) Create(ctx context.Context, namespace string, n int) {
	pod := Pod(namespace, fmt.Sprintf("load-%d", n))
	var options []client.CreateOption
	if l.StoreEach > 0 && n%l.StoreEach == 0 {
		pod.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "pillion.dev/load"}}
	} else {
		options = append(options, client.DryRunAll)
	}
	started := time.Now()
	err := l.Client.Create(ctx, pod, options...)
	c := Created{namespace, started, time.Since(started), pod.Annotations[injector.StatusAnnotation] != "", err}
	l.mutex.Lock()
	l.all = append(l.all, c)
	l.mutex.Unlock()
}

// Pod asks for a sidecar.
func Pod(namespace, name string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{OptIn: "true", "app": "app"}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
}

// All is what became of every pod so far.
func (l *Load) All() []Created {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return slices.Clone(l.all)
}

// Lost are the pods that were refused, or admitted without a sidecar.
func (l *Load) Lost() []Created {
	return slices.DeleteFunc(l.All(), func(c Created) bool { return c.Injected && c.Err == nil })
}

// Await returns when so many pods have been created, for what needs that much load to
// show anything, however slow the machine is.
func (l *Load) Await(t *testing.T, pods int) {
	t.Helper()
	for end := time.Now().Add(5 * time.Minute); len(l.All()) < pods && time.Now().Before(end); {
		time.Sleep(50 * time.Millisecond)
	}
}

// Check fails the test for each kind of loss, and where there was too little load
// to show anything.
func (l *Load) Check(t *testing.T, least int) {
	t.Helper()
	all, lost := l.All(), l.Lost()
	for n, c := range lost {
		if n == 5 {
			t.Errorf("... and %d more", len(lost)-n)
			break
		}
		t.Errorf("%s, %s after the first: a pod in %s was not injected: %v", c.At.Format("15:04:05.000"), c.At.Sub(all[0].At).Round(time.Millisecond), c.Namespace, c.Err)
	}
	if len(all) < least {
		t.Errorf("%d pods only, want %d or more", len(all), least)
	}
	t.Logf("%d pods, %d lost, p50 %s, p99 %s", len(all), len(lost), l.Percentile(50), l.Percentile(99))
}

// Percentile of the time that a creation took.
func (l *Load) Percentile(p int) time.Duration {
	var times []time.Duration
	for _, c := range l.All() {
		times = append(times, c.Took)
	}
	slices.Sort(times)
	if len(times) == 0 {
		return 0
	}
	return times[min(len(times)-1, len(times)*p/100)]
}
