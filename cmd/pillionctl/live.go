package main

import (
	"context"
	"fmt"
	"slices"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/preflight"
)

// workloadKind is a kind that can be named on the command line.
type workloadKind struct {
	gvk schema.GroupVersionKind
	// names that kubectl takes for it, the one that is printed first.
	names []string
	empty func() client.Object
}

// workloadKinds are those with a pod template, and last the Pod itself.
func workloadKinds() []workloadKind {
	apps, batch := appsv1.SchemeGroupVersion, batchv1.SchemeGroupVersion
	return []workloadKind{
		{apps.WithKind("Deployment"), []string{"deployment", "deploy", "deployments"}, func() client.Object { return &appsv1.Deployment{} }},
		{apps.WithKind("StatefulSet"), []string{"statefulset", "sts", "statefulsets"}, func() client.Object { return &appsv1.StatefulSet{} }},
		{apps.WithKind("DaemonSet"), []string{"daemonset", "ds", "daemonsets"}, func() client.Object { return &appsv1.DaemonSet{} }},
		{apps.WithKind("ReplicaSet"), []string{"replicaset", "rs", "replicasets"}, func() client.Object { return &appsv1.ReplicaSet{} }},
		{batch.WithKind("CronJob"), []string{"cronjob", "cj", "cronjobs"}, func() client.Object { return &batchv1.CronJob{} }},
		{batch.WithKind("Job"), []string{"job", "jobs"}, func() client.Object { return &batchv1.Job{} }},
		{corev1.SchemeGroupVersion.WithKind("Pod"), []string{"pod", "po", "pods"}, func() client.Object { return &corev1.Pod{} }},
	}
}

// findKind is the kind that a name is for.
func findKind(name string) (workloadKind, error) {
	var known []string
	for _, k := range workloadKinds() {
		if slices.Contains(k.names, strings.ToLower(name)) {
			return k, nil
		}
		known = append(known, k.names[0])
	}
	return workloadKind{}, fmt.Errorf("kind %q is not known; accepted is one of %s", name, strings.Join(known, ", "))
}

// object is the one that is named as KIND/NAME, in the connection's namespace. It has
// its kind, which the API leaves out.
func (c *connection) object(ctx context.Context, ref string) (client.Object, error) {
	kindName, name, ok := strings.Cut(ref, "/")
	if !ok || name == "" {
		return nil, fmt.Errorf("%q names no object: write KIND/NAME, as deploy/web", ref)
	}
	kind, err := findKind(kindName)
	if err != nil {
		return nil, err
	}
	return c.get(ctx, kind, name)
}

func (c *connection) get(ctx context.Context, kind workloadKind, name string) (client.Object, error) {
	object := kind.empty()
	if err := c.Get(ctx, client.ObjectKey{Namespace: c.namespace, Name: name}, object); err != nil {
		return nil, fmt.Errorf("reading %s %s in namespace %s: %w", kind.gvk.Kind, name, c.namespace, err)
	}
	object.GetObjectKind().SetGroupVersionKind(kind.gvk)
	return object, nil
}

// place is what is known of a namespace, and of the release that it is for.
type place struct {
	namespace *corev1.Namespace
	facts     *preflight.Facts
	release   *preflight.Installed
}

// place reads the namespace and the installation. Without the right to read the
// Namespace its labels are unknown, which is told.
func (c *connection) place(ctx context.Context, p *program) (*place, error) {
	where := &place{namespace: &corev1.Namespace{}}
	if err := c.Get(ctx, client.ObjectKey{Name: c.namespace}, where.namespace); apierrors.IsNotFound(err) {
		return nil, findings{fmt.Errorf("there is no namespace %s", c.namespace)}
	} else if err != nil {
		return nil, fmt.Errorf("reading namespace %s: %w", c.namespace, err)
	}
	facts, err := c.facts(ctx, p.now, false)
	if err != nil {
		return nil, err
	}
	where.facts = facts
	if facts.Releases.Err != nil {
		return nil, fmt.Errorf("looking for the webhook's ConfigMap in all namespaces (it needs the right to list ConfigMaps): %w", facts.Releases.Err)
	}
	where.release = facts.ReleaseFor(where.namespace)
	if where.release == nil {
		return nil, findings{fmt.Errorf("no release was found for namespace %s; `pillionctl check` tells why", c.namespace)}
	}
	return where, nil
}
