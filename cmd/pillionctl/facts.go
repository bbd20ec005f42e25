package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/preflight"
)

// releases are those whose ConfigMaps are found, in all namespaces.
func (c *connection) releases(ctx context.Context) (seen preflight.Seen[[]preflight.Installed]) {
	var found corev1.ConfigMapList
	if seen.Err = c.List(ctx, &found, client.MatchingLabels{"app.kubernetes.io/name": "pillion", "app.kubernetes.io/component": "webhook"}); seen.Err != nil {
		return seen
	}
	for n := range found.Items {
		m := &found.Items[n]
		r := preflight.Installed{Namespace: m.Namespace, Name: m.Name}
		if r.Config, r.ConfigErr = v1alpha1.Decode([]byte(m.Data["config.yaml"])); r.ConfigErr == nil {
			if r.Injector, r.ConfigErr = injector.New(r.Config); r.ConfigErr != nil {
				r.Config = nil // nobody can serve it
			}
		}
		seen.Value = append(seen.Value, r)
	}
	return seen
}

// facts are what is to be known of the installation itself. An error is one that
// makes all the rest pointless: the API server does not answer.
func (c *connection) facts(ctx context.Context, now time.Time, dryRun bool) (*preflight.Facts, error) {
	f := &preflight.Facts{Now: now}
	version, err := discovery.NewDiscoveryClientForConfig(c.config)
	if err != nil {
		return nil, fmt.Errorf("preparing the API client for %s: %w", c.config.Host, err)
	}
	info, err := version.ServerVersion()
	switch {
	case err == nil:
		f.ServerVersion.Value = info.GitVersion
	case apierrors.IsForbidden(err):
		f.ServerVersion.Err = err
	default:
		return nil, fmt.Errorf("asking the API server at %s for its version: %w", c.config.Host, err)
	}
	f.Releases = c.releases(ctx)
	f.Mutating.Value, f.Mutating.Err = items(ctx, c, &admissionv1.MutatingWebhookConfigurationList{}, func(l *admissionv1.MutatingWebhookConfigurationList) []admissionv1.MutatingWebhookConfiguration {
		return l.Items
	})
	f.Validating.Value, f.Validating.Err = items(ctx, c, &admissionv1.ValidatingWebhookConfigurationList{}, func(l *admissionv1.ValidatingWebhookConfigurationList) []admissionv1.ValidatingWebhookConfiguration {
		return l.Items
	})
	f.MeshServicesDefined = c.meshServicesDefined()
	f.Namespaces.Value, f.Namespaces.Err = items(ctx, c, &corev1.NamespaceList{}, func(l *corev1.NamespaceList) []corev1.Namespace { return l.Items })
	for n := range f.Releases.Value {
		r := &f.Releases.Value[n]
		c.release(ctx, r)
		if dryRun {
			r.Trials = c.trials(ctx, f, r)
		}
	}
	return f, nil
}

// items lists all objects of a kind, in namespaces where any are given.
func items[L client.ObjectList, T any](ctx context.Context, c *connection, list L, of func(L) []T, options ...client.ListOption) ([]T, error) {
	err := c.List(ctx, list, options...)
	return of(list), err
}

// release completes what is known of one.
func (c *connection) release(ctx context.Context, r *preflight.Installed) {
	in := client.InNamespace(r.Namespace)
	r.Deployments.Value, r.Deployments.Err = items(ctx, c, &appsv1.DeploymentList{}, func(l *appsv1.DeploymentList) []appsv1.Deployment { return l.Items }, in, client.MatchingLabels{"app.kubernetes.io/name": "pillion"})
	stem := strings.TrimSuffix(r.Name, "-webhook")
	r.Deployments.Value = slices.DeleteFunc(r.Deployments.Value, func(d appsv1.Deployment) bool {
		return d.Name != r.Name && d.Name != stem+"-controller"
	})
	var service corev1.Service
	switch err := c.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: r.Name}, &service); {
	case err == nil:
		r.Service.Value = &service
	case !apierrors.IsNotFound(err):
		r.Service.Err = err
	}
	r.Slices.Value, r.Slices.Err = items(ctx, c, &discoveryv1.EndpointSliceList{}, func(l *discoveryv1.EndpointSliceList) []discoveryv1.EndpointSlice { return l.Items }, in, client.MatchingLabels{discoveryv1.LabelServiceName: r.Name})
	c.certificate(ctx, r)
}

// certificate reads the Secret that the webhook's Deployment mounts. Of what is in it
// nothing but the certificate is kept.
func (c *connection) certificate(ctx context.Context, r *preflight.Installed) {
	name := r.Name + "-tls"
	for n := range r.Deployments.Value {
		d := &r.Deployments.Value[n]
		for _, v := range d.Spec.Template.Spec.Volumes {
			if d.Name == r.Name && v.Name == "tls" && v.Secret != nil {
				name = v.Secret.SecretName
			}
		}
	}
	var secret corev1.Secret
	switch err := c.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: name}, &secret); {
	case err == nil:
		r.Certificate.Value = secret.Data[corev1.TLSCertKey]
		r.ControllerMeant = secret.Labels["app.kubernetes.io/component"] == "controller"
	case !apierrors.IsNotFound(err):
		r.Certificate.Err = err
	}
}

// trials creates pods that opted in, as dry runs: in one namespace of each kind that
// takes them, since the entry of strict namespaces is another one.
func (c *connection) trials(ctx context.Context, f *preflight.Facts, r *preflight.Installed) []preflight.Trial {
	var trials []preflight.Trial
	for _, strict := range []bool{false, true} {
		if t := c.firstTaken(ctx, f, r, strict); t != nil {
			trials = append(trials, *t)
		}
	}
	return trials
}

// firstTaken is the first trial that shows what the webhook makes of pods, which one that
// a namespace refused, as by its Pod Security level, does not; else the last one. It is
// nil where no namespace has opted in.
func (c *connection) firstTaken(ctx context.Context, f *preflight.Facts, r *preflight.Installed, strict bool) (last *preflight.Trial) {
	tries := 3
	for n := range f.Namespaces.Value {
		ns := &f.Namespaces.Value[n]
		if !r.Claims(ns) || ns.DeletionTimestamp != nil || (ns.Labels["pillion.dev/strict"] == "true") != strict {
			continue
		}
		t := c.trial(ctx, r, ns)
		last = &t
		outcome, _ := r.Outcome(last)
		refused := outcome == preflight.Refused || outcome == preflight.Works && t.Pod == nil
		if tries--; !refused || tries == 0 {
			break
		}
	}
	return last
}

// trial creates a pod that asks for as little as possible, and that no level of Pod
// Security holds anything against. Nothing of it is stored.
func (c *connection) trial(ctx context.Context, r *preflight.Installed, ns *corev1.Namespace) preflight.Trial {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			GenerateName: "pillionctl-check-", Namespace: ns.Name,
			Labels: map[string]string{r.Config.OptIn.Label: r.Config.OptIn.Value},
		},
		Spec: corev1.PodSpec{
			AutomountServiceAccountToken: new(false),
			Containers: []corev1.Container{{
				Name: "app", Image: "pillionctl-check",
				SecurityContext: &corev1.SecurityContext{
					AllowPrivilegeEscalation: new(false), RunAsNonRoot: new(true), RunAsUser: new(int64(1000)),
					Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
					SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
				},
			}},
		},
	}
	t := preflight.Trial{Namespace: ns.Name, Strict: ns.Labels["pillion.dev/strict"] == "true"}
	if t.Err = c.Create(ctx, pod, client.DryRunAll); t.Err == nil {
		t.Pod = pod
	}
	return t
}

// askAbout adds what is to be known of namespaces, by name, or of all that opted in.
func (c *connection) askAbout(ctx context.Context, f *preflight.Facts, name string, dryRun bool) error {
	for n := range f.Namespaces.Value {
		ns := &f.Namespaces.Value[n]
		claimed := slices.ContainsFunc(f.Releases.Value, func(r preflight.Installed) bool { return r.Claims(ns) })
		if ns.Name == name || name == "" && claimed {
			f.Asked = append(f.Asked, c.namespaceFacts(ctx, f, ns, dryRun))
		}
	}
	if name == "" || len(f.Asked) > 0 {
		return nil
	}
	var ns corev1.Namespace
	if err := c.Get(ctx, client.ObjectKey{Name: name}, &ns); err != nil {
		return fmt.Errorf("looking for namespace %s: %w", name, err)
	}
	f.Asked = append(f.Asked, c.namespaceFacts(ctx, f, &ns, dryRun))
	return nil
}

func (c *connection) namespaceFacts(ctx context.Context, f *preflight.Facts, ns *corev1.Namespace, dryRun bool) preflight.Namespace {
	in := client.InNamespace(ns.Name)
	n := preflight.Namespace{Object: *ns}
	n.Workloads.Value, n.Workloads.Err = c.workloadsOf(ctx, ns.Name)
	n.LimitRanges.Value, n.LimitRanges.Err = items(ctx, c, &corev1.LimitRangeList{}, func(l *corev1.LimitRangeList) []corev1.LimitRange { return l.Items }, in)
	n.Quotas.Value, n.Quotas.Err = items(ctx, c, &corev1.ResourceQuotaList{}, func(l *corev1.ResourceQuotaList) []corev1.ResourceQuota { return l.Items }, in)
	n.Autoscalers.Value, n.Autoscalers.Err = items(ctx, c, &autoscalingv2.HorizontalPodAutoscalerList{}, func(l *autoscalingv2.HorizontalPodAutoscalerList) []autoscalingv2.HorizontalPodAutoscaler {
		return l.Items
	}, in)
	n.Budgets.Value, n.Budgets.Err = items(ctx, c, &policyv1.PodDisruptionBudgetList{}, func(l *policyv1.PodDisruptionBudgetList) []policyv1.PodDisruptionBudget { return l.Items }, in)
	if f.MeshServicesDefined.Value {
		n.MeshServices.Value, n.MeshServices.Err = c.meshServices(ctx, ns.Name)
		n.Sidecars = c.sidecars(ctx, ns.Name)
	}
	if r := f.ReleaseFor(ns); dryRun && r != nil && r.Claims(ns) {
		trial := c.trial(ctx, r, ns)
		n.Trial = &trial
	}
	return n
}
