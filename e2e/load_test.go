package e2e

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/injector"
)

// crowd is a client that opens a connection for each request that is in flight.
func crowd(t *testing.T) (c client.Client, opened func() int) {
	t.Helper()
	var mutex sync.Mutex
	connections := 0
	config := rest.CopyConfig(world.plane.Config)
	config.WarningHandlerWithContext = rest.NoWarnings{}
	config.NextProtos = []string{"http/1.1"}
	config.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		mutex.Lock()
		connections++
		mutex.Unlock()
		return new(net.Dialer).DialContext(ctx, network, address)
	}
	c, err := client.New(config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return c, func() int {
		mutex.Lock()
		defer mutex.Unlock()
		return connections
	}
}

// createAtOnce creates so many pods, dry, all at the same time, in turn in these
// namespaces.
func createAtOnce(t *testing.T, c client.Client, count int, namespaces ...string) (pods []*corev1.Pod, errs []error) {
	t.Helper()
	pods, errs = make([]*corev1.Pod, count), make([]error, count)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range count {
		pods[i] = appPod(fmt.Sprintf("crowd-%d", i))
		pods[i].Namespace = namespaces[i%len(namespaces)]
		all.Go(func() {
			<-start
			errs[i] = c.Create(t.Context(), pods[i], client.DryRunAll)
		})
	}
	close(start)
	all.Wait()
	return pods, errs
}

// TestSixHundredAtOnce: "600 concurrent connections + TLS handshake storm: no reset".
// None of the pods goes without its sidecar, and none is refused.
func TestSixHundredAtOnce(t *testing.T) {
	// What is held is that all are answered, not how fast this machine is.
	installed := install(t, webhookValues(t, map[string]any{"timeoutSeconds": 30}))
	c, opened := crowd(t)
	// Where a failure shows as a pod without a sidecar, and where as a refusal.
	ignore, fail := newTwins(t, nil), newTwins(t, map[string]string{strictLabel: "true"})
	pods, errs := createAtOnce(t, c, 600, ignore.meshed, fail.meshed)
	for i, pod := range pods {
		if errs[i] != nil || pod.Annotations[injector.StatusAnnotation] == "" {
			t.Errorf("pod %s in %s is refused or has no sidecar: %v", pod.Name, pod.Namespace, errs[i])
		}
	}
	if got := opened(); got < 600 {
		t.Errorf("the client opened %d connections only", got)
	}
	for series, value := range installed.counters(t) {
		// One that was turned away with 503 was asked again.
		turnedAway := series == `requests_failed_total{reason="Overload"`
		if !turnedAway && strings.HasPrefix(series, "requests_failed") || strings.HasPrefix(series, "panics") {
			t.Errorf("%s is %v", series, value)
		}
	}
}

// TestOverload: "overload beyond capacity: 503 fast not timeouts; recovers". With
// room for one request at a time, a pod is injected or goes by its namespace's
// failure policy, and no pod is stored half injected or with another error.
func TestOverload(t *testing.T) {
	installed := install(t, webhookValues(t, nil, "--max-in-flight=1"))
	c, _ := crowd(t)
	ignore, fail := newTwins(t, nil), newTwins(t, map[string]string{strictLabel: "true"})
	pods, errs := createAtOnce(t, c, 200, ignore.meshed, fail.meshed)
	injected := 0
	for i, pod := range pods {
		switch strict, has := pod.Namespace == fail.meshed, pod.Annotations[injector.StatusAnnotation] != ""; {
		case errs[i] == nil && has:
			injected++
			container(t, pod, "envoy")
			container(t, pod, "pillion-init")
		case errs[i] == nil && strict:
			t.Errorf("pod %s is without a sidecar in a strict namespace", pod.Name)
		case errs[i] != nil && (!strict || !apierrors.IsInternalError(errs[i]) || !strings.Contains(errs[i].Error(), "strict.inject.pillion.dev")):
			t.Errorf("pod %s in %s: %v", pod.Name, pod.Namespace, errs[i])
		}
	}
	ignore.create(t, appPod("afterwards"))
	fail.create(t, appPod("afterwards"))
	shed := installed.counters(t)[`requests_failed_total{reason="Overload"`]
	t.Logf("%d of %d pods were injected; %v requests were shed", injected, len(pods), shed)
	for series, value := range installed.counters(t) {
		if strings.HasPrefix(series, "requests_failed") && !strings.Contains(series, "Overload") {
			t.Errorf("%s is %v", series, value)
		}
	}
}
