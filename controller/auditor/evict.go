package auditor

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"golang.org/x/time/rate"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// evictor has pods made anew through the Eviction API, so that budgets hold.
type evictor struct {
	client client.Client
	reader client.Reader
	// service is the webhook's.
	service client.ObjectKey
	rate    *rate.Limiter
	trials  *trials
	teller  *teller
	metrics *Metrics
	log     *slog.Logger
}

// mostOfARequest is how long one request to kube-apiserver may take.
const mostOfARequest = 30 * time.Second

// evict evicts what may be evicted now, for some time. It stops when the webhook is not
// ready: the next pod would be missed as well. One that cannot be evicted keeps none of the
// others: it is counted and told in the error. It is unfinished while it is to be seen
// what comes of evictions, or others have to follow.
func (e *evictor) evict(ctx context.Context, f *findings, atMost time.Duration) (unfinished bool, err error) {
	for _, given := range e.trials.learn(f) {
		e.leaveAlone(ctx, given)
	}
	e.metrics.leftAlone.Set(float64(e.trials.leftAlone()))
	limited, cancel := context.WithTimeout(ctx, atMost)
	defer cancel()
	var failures []error
	for _, candidate := range e.trials.candidates(f) {
		if !e.trials.open() {
			break
		}
		if err := e.rate.Wait(limited); err != nil {
			return ctx.Err() == nil, errors.Join(failures...) // the rest has to wait for the next pass
		}
		ready, err := e.try(ctx, candidate)
		if !ready {
			return false, errors.Join(append(failures, err)...)
		}
		// As many as a person reads; the counter has all of them.
		if err != nil && len(failures) < 5 {
			failures = append(failures, err)
		}
	}
	return e.trials.waiting(), errors.Join(failures...)
}

// try evicts a pod if the webhook is ready for the next one.
func (e *evictor) try(ctx context.Context, c candidate) (ready bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, mostOfARequest)
	defer cancel()
	if ready, err = e.webhookIsReady(ctx); err != nil || !ready {
		if err == nil {
			e.log.Warn("no pod is evicted while no replica of the webhook is ready", "service", e.service)
		}
		return false, err
	}
	e.trials.tried(c)
	return true, e.one(ctx, c)
}

// webhookIsReady asks whether the webhook's Service leads to a replica that is ready.
func (e *evictor) webhookIsReady(ctx context.Context) (bool, error) {
	var slices discoveryv1.EndpointSliceList
	err := e.reader.List(ctx, &slices, client.InNamespace(e.service.Namespace), client.MatchingLabels{discoveryv1.LabelServiceName: e.service.Name})
	if err != nil {
		return false, fmt.Errorf("asking whether the webhook is ready, for the EndpointSlices of Service %s: %w", e.service, err)
	}
	for _, slice := range slices.Items {
		for _, endpoint := range slice.Endpoints {
			if endpoint.Conditions.Ready != nil && *endpoint.Conditions.Ready {
				return true, nil
			}
		}
	}
	return false, nil
}

// one evicts a pod, unless another one has its name by now.
func (e *evictor) one(ctx context.Context, c candidate) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: c.namespace, Name: c.pod.name}}
	err := e.client.SubResource("eviction").Create(ctx, pod, &policyv1.Eviction{
		DeleteOptions: &metav1.DeleteOptions{Preconditions: metav1.NewUIDPreconditions(string(c.pod.uid))},
	})
	result := resultOf(err)
	e.metrics.evictions.WithLabelValues(result).Inc()
	switch result {
	case resultEvicted:
		e.trials.evicted(c)
		e.log.Info("pod evicted, so that the next one has a sidecar that works", "namespace", c.namespace, "pod", c.pod.name, "state", c.pod.state)
		if w := e.teller.workloads[c.id()]; w != nil {
			e.teller.event(w, corev1.EventTypeNormal, "SidecarEviction", "Evict",
				fmt.Sprintf("evicted pod %s, whose sidecar is %s, so that the next one has a sidecar that works", c.pod.name, c.pod.state))
		}
	case resultBudget, resultGone:
		e.log.Debug("pod not evicted now", "namespace", c.namespace, "pod", c.pod.name, "result", result)
	default:
		return fmt.Errorf("evicting pod %s/%s: %w", c.namespace, c.pod.name, err)
	}
	return nil
}

func resultOf(err error) string {
	switch {
	case err == nil:
		return resultEvicted
	case apierrors.HasStatusCause(err, policyv1.DisruptionBudgetCause):
		return resultBudget
	case apierrors.IsNotFound(err) || apierrors.IsConflict(err):
		return resultGone
	default:
		return resultFailed
	}
}

// leaveAlone says that a workload is not evicted any more.
func (e *evictor) leaveAlone(ctx context.Context, given givenUp) {
	ctx, cancel := context.WithTimeout(ctx, mostOfARequest)
	defer cancel()
	w := e.teller.workloadOf(ctx, given.group)
	e.log.Warn("its pods are not evicted any more", "workload", w.String(), "reason", given.why)
	e.teller.event(w, corev1.EventTypeWarning, "SidecarEvictionStopped", "Evict",
		given.why+": its pods are not evicted any more. What keeps the sidecar from them is in the Events of the pods and in `kubectl get mutatingwebhookconfigurations`")
}
