package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/preflight"
)

// checkedDeployment has 4 replicas of a pod that opted in, and that every level of Pod
// Security and every LimitRange here takes.
func checkedDeployment(namespace string) *appsv1.Deployment {
	pod := restrictedPod()
	pod.Spec.Containers[0].Resources = corev1.ResourceRequirements{
		Requests: cpuMemory("100m", "64Mi"), Limits: cpuMemory("200m", "128Mi"),
	}
	return &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(4)),
			Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "shop"}},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels}, Spec: pod.Spec},
		},
	}
}

func cpuMemory(cpu, memory string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for name, text := range map[corev1.ResourceName]string{corev1.ResourceCPU: cpu, corev1.ResourceMemory: memory} {
		if text != "" {
			list[name] = resource.MustParse(text)
		}
	}
	return list
}

// problemsIn are the checks of namespaces that found a problem in that one, with what
// they say.
func problemsIn(t *testing.T, namespace string) (ids []string, said string) {
	t.Helper()
	all, run := check(t, "-n", namespace)
	for _, c := range preflight.Checks() {
		if r := all[c.ID]; c.Category == preflight.Namespaces && r.Result == string(preflight.Problem) {
			ids, said = append(ids, c.ID), said+fmt.Sprint(r.Findings)
		}
	}
	if len(ids) > 0 && run.status != 1 {
		t.Errorf("it ended with %d: %s", run.status, run.stderr)
	}
	return ids, said
}

// limited is a LimitRange for containers, unless the item says for what.
func limited(item corev1.LimitRangeItem) client.Object {
	if item.Type == "" {
		item.Type = corev1.LimitTypeContainer
	}
	return &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "limits"}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{item}}}
}

// namespaceCase is a namespace with a Deployment of checkedDeployment's, and what the
// checks find in it.
type namespaceCase struct {
	labels map[string]string
	limits client.Object
	// keeps has the app itself keep the limits.
	keeps func(*corev1.PodSpec)
	// finds is the check that finds a problem; empty for none.
	finds string
	says  []string
	// anyway says that the pods are refused without a sidecar, too.
	anyway bool
}

// TestCheckNamespaceAgainstAPIServer: what the checks of a namespace say about
// injected pods is what kube-apiserver then does with one: it refuses it where a
// problem is found and takes it where none is, in the same words where it is about Pod
// Security.
func TestCheckNamespaceAgainstAPIServer(t *testing.T) {
	install(t, nil)
	c := apiServer(t)
	for name, test := range map[string]namespaceCase{
		"nothing special": {},
		"baseline": {labels: map[string]string{"pod-security.kubernetes.io/enforce": "baseline"}, finds: "pod-security", says: []string{
			`non-default capabilities (container "pillion-init" must not include "NET_ADMIN", "NET_RAW" in securityContext.capabilities.add)`,
		}},
		"restricted": {labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}, finds: "pod-security", says: []string{
			`unrestricted capabilities (container "pillion-init"`, `runAsNonRoot != true`,
		}},
		"privileged":     {labels: map[string]string{"pod-security.kubernetes.io/enforce": "privileged"}},
		"only warned of": {labels: map[string]string{"pod-security.kubernetes.io/warn": "restricted"}},
		"maximum":        {limits: limited(corev1.LimitRangeItem{Max: cpuMemory("", "256Mi")}), finds: "limit-range", says: []string{"memory limit 512Mi is above the maximum 256Mi of LimitRange limits"}},
		"wide maximum":   {limits: limited(corev1.LimitRangeItem{Max: cpuMemory("", "1Gi")})},
		"maximum of what the sidecar does not limit": {limits: limited(corev1.LimitRangeItem{Max: cpuMemory("1", "")})},
		"minimum": {limits: limited(corev1.LimitRangeItem{Min: cpuMemory("", "200Mi")}), keeps: func(pod *corev1.PodSpec) {
			pod.Containers[0].Resources = corev1.ResourceRequirements{Requests: cpuMemory("", "200Mi"), Limits: cpuMemory("", "300Mi")}
		}, finds: "limit-range", says: []string{"memory request 128Mi is below the minimum 200Mi"}},
		"low minimum":   {limits: limited(corev1.LimitRangeItem{Min: cpuMemory("10m", "16Mi")})},
		"small default": {limits: limited(corev1.LimitRangeItem{Default: cpuMemory("50m", "")}), finds: "limit-range", says: []string{"cpu request 100m is above the limit 50m"}},
		"default":       {limits: limited(corev1.LimitRangeItem{Default: cpuMemory("500m", "")})},
		"ratio":         {limits: limited(corev1.LimitRangeItem{MaxLimitRequestRatio: cpuMemory("", "3")}), finds: "limit-range", says: []string{"more than 3 times its request 128Mi"}},
		"wide ratio":    {limits: limited(corev1.LimitRangeItem{MaxLimitRequestRatio: cpuMemory("", "4")})},
	} {
		t.Run(name, func(t *testing.T) { test.run(t, c) })
	}
}

func (test *namespaceCase) run(t *testing.T, c client.Client) {
	t.Helper()
	w := newTwins(t, test.labels)
	deployment := checkedDeployment(w.meshed)
	if test.keeps != nil {
		test.keeps(&deployment.Spec.Template.Spec)
	}
	if err := c.Create(t.Context(), deployment); err != nil {
		t.Fatal(err)
	}
	for _, namespace := range []string{w.plain, w.meshed} {
		if test.limits != nil {
			limits := test.limits.DeepCopyObject().(client.Object)
			limits.SetNamespace(namespace)
			if err := c.Create(t.Context(), limits); err != nil {
				t.Fatal(err)
			}
		}
	}
	ids, said := problemsIn(t, w.meshed)
	want := []string{}
	if test.finds != "" {
		want = append(want, test.finds)
	}
	if !slices.Equal(ids, want) {
		t.Errorf("the problems are %q, want %q: %s", ids, want, said)
	}
	pod := &corev1.Pod{ObjectMeta: deployment.Spec.Template.ObjectMeta, Spec: deployment.Spec.Template.Spec}
	pod.Name = "web-1"
	if _, err := w.createIn(t, w.plain, pod); (err != nil) != test.anyway {
		t.Fatalf("of the pod without the mesh kube-apiserver says: %v", err)
	}
	_, err := w.createIn(t, w.meshed, pod)
	if refused := apierrors.IsForbidden(err) || apierrors.IsInvalid(err); refused != (test.finds != "") {
		t.Errorf("kube-apiserver says: %v", err)
	}
	for _, words := range test.says {
		if !strings.Contains(said, words) {
			t.Errorf("it does not say %q: %s", words, said)
		}
		if test.finds == "pod-security" && !strings.Contains(err.Error(), words) {
			t.Errorf("kube-apiserver does not say %q: %v", words, err)
		}
	}
}

// quota counts some resources; what is in use is written by a controller elsewhere.
func quota(t *testing.T, c client.Client, namespace string, hard, used map[corev1.ResourceName]string) {
	t.Helper()
	list := func(texts map[corev1.ResourceName]string) corev1.ResourceList {
		quantities := corev1.ResourceList{}
		for name, text := range texts {
			quantities[name] = resource.MustParse(text)
		}
		return quantities
	}
	q := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "quota"}, Spec: corev1.ResourceQuotaSpec{Hard: list(hard)}}
	if err := c.Create(t.Context(), q); err != nil {
		t.Fatal(err)
	}
	q.Status = corev1.ResourceQuotaStatus{Hard: list(hard), Used: list(used)}
	if err := c.Status().Update(t.Context(), q); err != nil {
		t.Fatal(err)
	}
}

// TestCheckNamespace: what is in a namespace beside its workloads, and is named before
// it is in the way; each with what to do.
func TestCheckNamespace(t *testing.T) {
	install(t, nil)
	c := apiServer(t)
	for name, test := range map[string]struct {
		prepare func(*testing.T, string, *appsv1.Deployment)
		finds   []string
		says    []string
	}{
		"nothing": {func(*testing.T, string, *appsv1.Deployment) {}, nil, nil},
		"a pod that is refused": {func(_ *testing.T, _ string, d *appsv1.Deployment) {
			d.Spec.Template.Annotations = map[string]string{"pillion.dev/drain-time": "soon"}
		}, []string{"pods-refused"}, []string{"Deployment web", "PIL034", "drain-time"}},
		"a full quota": {func(t *testing.T, namespace string, _ *appsv1.Deployment) {
			t.Helper()
			quota(t, c, namespace, map[corev1.ResourceName]string{"requests.cpu": "500m"}, map[corev1.ResourceName]string{"requests.cpu": "400m"})
		}, []string{"resource-quota"}, []string{"allows 500m of requests.cpu and 400m are in use", "up to 600m more"}},
		"a quota with room": {func(t *testing.T, namespace string, _ *appsv1.Deployment) {
			t.Helper()
			quota(t, c, namespace, map[corev1.ResourceName]string{"requests.cpu": "1"}, map[corev1.ResourceName]string{"requests.cpu": "400m"})
		}, nil, nil},
		"a quota of limits": {func(t *testing.T, namespace string, _ *appsv1.Deployment) {
			t.Helper()
			quota(t, c, namespace, map[corev1.ResourceName]string{"limits.cpu": "100"}, map[corev1.ResourceName]string{"limits.cpu": "1"})
		}, []string{"resource-quota"}, []string{"the sidecar of Deployment web gives none", "LimitRange with a default for limits.cpu"}},
		"an autoscaler by the whole pod": {func(t *testing.T, namespace string, _ *appsv1.Deployment) {
			t.Helper()
			createAutoscaler(t, c, namespace, autoscalingv2.MetricSpec{
				Type: autoscalingv2.ResourceMetricSourceType, Resource: &autoscalingv2.ResourceMetricSource{
					Name: "cpu", Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: new(int32(80))},
				},
			})
		}, []string{"autoscaler-average"}, []string{"HorizontalPodAutoscaler web scales Deployment web by the cpu of whole pods", "ContainerResource with container: app"}},
		"an autoscaler by the app's container": {func(t *testing.T, namespace string, _ *appsv1.Deployment) {
			t.Helper()
			createAutoscaler(t, c, namespace, autoscalingv2.MetricSpec{
				Type: autoscalingv2.ContainerResourceMetricSourceType, ContainerResource: &autoscalingv2.ContainerResourceMetricSource{
					Name: "cpu", Container: "app", Target: autoscalingv2.MetricTarget{Type: autoscalingv2.UtilizationMetricType, AverageUtilization: new(int32(80))},
				},
			})
		}, nil, nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, labels := range []map[string]string{{optInLabel: "true"}, nil} {
				// The second time nobody has opted in yet, and asks what would be.
				namespace := newNamespace(t, c, "asked-", labels)
				deployment := checkedDeployment(namespace)
				test.prepare(t, namespace, deployment)
				if labels == nil {
					delete(deployment.Spec.Template.Labels, optInLabel)
				}
				if err := c.Create(t.Context(), deployment); err != nil {
					t.Fatal(err)
				}
				ids, said := problemsIn(t, namespace)
				if !slices.Equal(ids, test.finds) {
					t.Errorf("with the labels %v the problems are %q, want %q: %s", labels, ids, test.finds, said)
				}
				for _, words := range test.says {
					if !strings.Contains(said, words) {
						t.Errorf("it does not say %q: %s", words, said)
					}
				}
			}
		})
	}
}

func createAutoscaler(t *testing.T, c client.Client, namespace string, metric autoscalingv2.MetricSpec) {
	t.Helper()
	hpa := &autoscalingv2.HorizontalPodAutoscaler{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
		Spec: autoscalingv2.HorizontalPodAutoscalerSpec{
			ScaleTargetRef: autoscalingv2.CrossVersionObjectReference{APIVersion: "apps/v1", Kind: "Deployment", Name: "web"},
			MaxReplicas:    10, Metrics: []autoscalingv2.MetricSpec{metric},
		},
	}
	if err := c.Create(t.Context(), hpa); err != nil {
		t.Fatal(err)
	}
}

// TestCheckNotices: what works, and somebody should know about, is said and does not
// count as a problem.
func TestCheckNotices(t *testing.T) {
	installed := install(t, nil)
	c := apiServer(t)
	installed.complete(t, c)
	namespace := newNamespace(t, c, "noticed-", map[string]string{optInLabel: "true"})
	later := &admissionv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: "zz-later"},
		Webhooks: []admissionv1.MutatingWebhook{{
			Name: "later.example.com", AdmissionReviewVersions: []string{"v1"}, SideEffects: new(admissionv1.SideEffectClassNone), FailurePolicy: new(admissionv1.Ignore),
			ClientConfig:      admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{Namespace: "x", Name: "x"}},
			NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{"CREATE"}, Rule: admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
		}},
	}
	if err := c.Create(t.Context(), later); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { deleteObject(t, c, later) })
	budget := &policyv1.PodDisruptionBudget{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"}}
	if err := c.Create(t.Context(), budget); err != nil {
		t.Fatal(err)
	}
	budget.Status = policyv1.PodDisruptionBudgetStatus{ExpectedPods: 2, DesiredHealthy: 2, CurrentHealthy: 2}
	if err := c.Status().Update(t.Context(), budget); err != nil {
		t.Fatal(err)
	}
	all, run := check(t, "-n", namespace)
	if got, want := all.with(preflight.Notice), []string{"disruption-budget", "later-webhooks"}; !slices.Equal(got, want) || run.status != 0 {
		t.Errorf("notices are %q, want %q; it ended with %d: %s", got, want, run.status, run.stdout)
	}
}

// TestCheckClash: two releases without a revision take the same namespaces.
func TestCheckClash(t *testing.T) {
	install(t, nil)
	install(t, map[string]any{"fullnameOverride": "second"})
	all, _ := check(t)
	if found := all["revision-clash"].Findings; len(found) != 1 || !strings.Contains(found[0].Message, "pillion-system/pillion-webhook and release pillion-system/second-webhook both take the pods of") {
		t.Errorf("the clash is told as %v", found)
	}
}
