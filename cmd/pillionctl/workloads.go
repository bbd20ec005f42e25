package main

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/preflight"
)

// workloadsOf are what makes pods in a namespace: Kubernetes' own kinds that no other
// one made, and bare pods.
func (c *connection) workloadsOf(ctx context.Context, namespace string) ([]preflight.Workload, error) {
	var all []preflight.Workload
	for _, list := range []client.ObjectList{
		&appsv1.DeploymentList{}, &appsv1.StatefulSetList{}, &appsv1.DaemonSetList{}, &appsv1.ReplicaSetList{}, &batchv1.CronJobList{}, &batchv1.JobList{}, &corev1.PodList{},
	} {
		if err := c.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return nil, fmt.Errorf("listing the %T of namespace %s: %w", list, namespace, err)
		}
		switch list := list.(type) {
		case *appsv1.DeploymentList:
			all = collect(all, list.Items, func(d *appsv1.Deployment) client.Object { return d })
		case *appsv1.StatefulSetList:
			all = collect(all, list.Items, func(s *appsv1.StatefulSet) client.Object { return s })
		case *appsv1.DaemonSetList:
			all = collect(all, list.Items, func(d *appsv1.DaemonSet) client.Object { return d })
		case *appsv1.ReplicaSetList:
			all = collect(all, list.Items, func(r *appsv1.ReplicaSet) client.Object { return r })
		case *batchv1.CronJobList:
			all = collect(all, list.Items, func(j *batchv1.CronJob) client.Object { return j })
		case *batchv1.JobList:
			all = collect(all, list.Items, func(j *batchv1.Job) client.Object { return j })
		case *corev1.PodList:
			countMeshed(all, list.Items)
			all = collect(all, list.Items, func(p *corev1.Pod) client.Object { return p })
		}
	}
	return all, nil
}

// collect adds the workloads that nobody else's controller made.
func collect[T any](all []preflight.Workload, items []T, object func(*T) client.Object) []preflight.Workload {
	for n := range items {
		o := object(&items[n])
		if metav1.GetControllerOf(o) != nil {
			continue
		}
		if w := workloadIn(o); w != nil {
			all = append(all, *w)
		}
	}
	return all
}

// workloadIn is what an object says of its pods; nil for what has ended, or is of a
// kind that is not known.
func workloadIn(o client.Object) *preflight.Workload {
	w := &preflight.Workload{Name: o.GetName(), Labels: o.GetLabels(), Annotations: o.GetAnnotations(), Path: "spec.template", Replicas: 1}
	switch o := o.(type) {
	case *appsv1.Deployment:
		w.Kind, w.Template, w.Replicas = "Deployment", o.Spec.Template, int64(ptr.Deref(o.Spec.Replicas, 1))
		w.Surge = surge(o)
	case *appsv1.StatefulSet:
		w.Kind, w.Template, w.Replicas = "StatefulSet", o.Spec.Template, int64(ptr.Deref(o.Spec.Replicas, 1))
	case *appsv1.DaemonSet:
		w.Kind, w.Template, w.Replicas = "DaemonSet", o.Spec.Template, int64(o.Status.DesiredNumberScheduled)
	case *appsv1.ReplicaSet:
		w.Kind, w.Template, w.Replicas = "ReplicaSet", o.Spec.Template, int64(ptr.Deref(o.Spec.Replicas, 1))
	case *batchv1.CronJob:
		w.Kind, w.Template, w.Path = "CronJob", o.Spec.JobTemplate.Spec.Template, "spec.jobTemplate.spec.template"
	case *batchv1.Job:
		if o.Status.CompletionTime != nil {
			return nil
		}
		w.Kind, w.Template, w.Replicas = "Job", o.Spec.Template, int64(ptr.Deref(o.Spec.Parallelism, 1))
	case *corev1.Pod:
		if o.Status.Phase == corev1.PodSucceeded || o.Status.Phase == corev1.PodFailed {
			return nil
		}
		w.Kind, w.Template, w.Path = "Pod", corev1.PodTemplateSpec{ObjectMeta: o.ObjectMeta, Spec: o.Spec}, ""
		w.Labels, w.Annotations = nil, nil
	default:
		return nil
	}
	return w
}

// surge is how many pods a rolling update of a Deployment has beside the old ones.
func surge(d *appsv1.Deployment) int64 {
	if d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return 0
	}
	most := intstr.FromString("25%")
	if rolling := d.Spec.Strategy.RollingUpdate; rolling != nil && rolling.MaxSurge != nil {
		most = *rolling.MaxSurge
	}
	// An API server stores no surge that cannot be read.
	n, err := intstr.GetScaledValueFromIntOrPercent(&most, int(ptr.Deref(d.Spec.Replicas, 1)), true)
	if err != nil {
		return 0
	}
	return int64(n)
}

// countMeshed notes how many pods of each workload have a sidecar already.
func countMeshed(workloads []preflight.Workload, pods []corev1.Pod) {
	meshed := map[string]int64{}
	for n := range pods {
		if pods[n].Annotations[injector.StatusAnnotation] != "" {
			name, _ := workloadOf(&pods[n])
			meshed[name]++
		}
	}
	for n := range workloads {
		workloads[n].Meshed = meshed[kubectlName(workloads[n].Kind, workloads[n].Name)]
	}
}
