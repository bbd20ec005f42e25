package e2e

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/injector"
)

// TestLimitBelowRequest: "resource annotation limit < request: computed consistent
// pair". Where the owner set both, they have to correct one.
func TestLimitBelowRequest(t *testing.T) {
	install(t, nil)
	w := newTwins(t, nil)
	for name, c := range map[string]struct {
		annotations    map[string]string
		request, limit string // CPU and memory, as "100m 128Mi"
	}{
		"limit below the default request": {map[string]string{"memory-limit": "64Mi", "cpu-limit": "50m"}, "50m 64Mi", "50m 64Mi"},
		"request above the default limit": {map[string]string{"memory-request": "1Gi"}, "100m 1Gi", "0 1Gi"},
		"each on its own":                 {map[string]string{"cpu-request": "1", "memory-limit": "1Gi"}, "1 128Mi", "0 1Gi"},
	} {
		t.Run(name, func(t *testing.T) {
			pod := appPod("resources")
			for name, value := range c.annotations {
				metav1.SetMetaDataAnnotation(&pod.ObjectMeta, "pillion.dev/"+name, value)
			}
			meshed, _ := w.create(t, pod)
			for _, of := range []string{"envoy", "pillion-init"} {
				got := container(t, meshed, of).Resources
				if request, limit := cpuAndMemory(got.Requests), cpuAndMemory(got.Limits); request != c.request || limit != c.limit {
					t.Errorf("%s has requests %s and limits %s, want %s and %s", of, request, limit, c.request, c.limit)
				}
			}
		})
	}
	pod := podWith("pillion.dev/cpu-limit", "100m")
	pod.Annotations["pillion.dev/cpu-request"] = "200m"
	w.checkRefused(t, pod, injector.ReasonAnnotationValue, "metadata.annotations[pillion.dev/cpu-request]", "pillion.dev/cpu-limit")
}

func cpuAndMemory(list corev1.ResourceList) string {
	return list.Cpu().String() + " " + list.Memory().String()
}

func quantities(cpu, memory string) corev1.ResourceList {
	return corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
}

// TestLimitRange: "LimitRange conflict", with a real one. What it gives to containers
// that say nothing goes to the app as without the mesh; where the sidecar's own
// resources do not fit it, kube-apiserver says so, and annotations make them fit.
func TestLimitRange(t *testing.T) {
	install(t, nil)
	w := newTwins(t, nil)
	fits := corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Default: quantities("500m", "256Mi"), DefaultRequest: quantities("50m", "64Mi")}
	w.limit(t, fits)
	meshed, _ := w.create(t, appPod("defaults"))
	if got := container(t, meshed, "app").Resources; cpuAndMemory(got.Requests) != "50m 64Mi" || cpuAndMemory(got.Limits) != "500m 256Mi" {
		t.Errorf("the app has %+v, which is not the LimitRange's default", got)
	}
	// The CPU limit that the configuration does not give comes from the LimitRange.
	if got := container(t, meshed, "envoy").Resources; cpuAndMemory(got.Requests) != "100m 128Mi" || cpuAndMemory(got.Limits) != "500m 512Mi" {
		t.Errorf("envoy has %+v", got)
	}
	for _, mode := range modes() {
		w.create(t, podWith("pillion.dev/mode", mode))
	}

	tight := newTwins(t, nil)
	tight.limit(t, corev1.LimitRangeItem{Type: corev1.LimitTypeContainer, Max: quantities("1", "256Mi"), Min: quantities("10m", "16Mi"), Default: quantities("200m", "128Mi"), DefaultRequest: quantities("20m", "32Mi")})
	_, err := tight.createIn(t, tight.meshed, appPod("too-large"))
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "maximum memory usage per Container is 256Mi, but limit is 512Mi") {
		t.Errorf("a sidecar above the LimitRange's maximum: %v", err)
	}
	tight.create(t, podWith("pillion.dev/memory-limit", "256Mi"))
}

// limit makes a LimitRange in both namespaces, which kube-apiserver has to notice.
func (w *twins) limit(t *testing.T, item corev1.LimitRangeItem) {
	t.Helper()
	for _, namespace := range []string{w.plain, w.meshed} {
		limits := &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: "limits", Namespace: namespace}, Spec: corev1.LimitRangeSpec{Limits: []corev1.LimitRangeItem{item}}}
		if err := w.client.Create(t.Context(), limits); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the LimitRange applies", func() bool {
			pod := appPod("limited")
			delete(pod.Labels, optInLabel)
			pod.Annotations = map[string]string{otherDone: "yes"} // it is not for any webhook
			created, err := w.createIn(t, namespace, pod)
			return err == nil && len(created.Spec.Containers[0].Resources.Limits) > 0
		})
	}
}

// TestQuotaDenialIsExplained: "quota denial explained". kube-apiserver names the
// quota, what was asked for and what is left.
func TestQuotaDenialIsExplained(t *testing.T) {
	install(t, nil)
	w := newTwins(t, nil)
	hard := corev1.ResourceList{corev1.ResourceRequestsMemory: resource.MustParse("100Mi")}
	quota := &corev1.ResourceQuota{ObjectMeta: metav1.ObjectMeta{Name: "team-quota", Namespace: w.meshed}, Spec: corev1.ResourceQuotaSpec{Hard: hard}}
	if err := w.client.Create(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	// The controller that is missing here would do this.
	quota.Status = corev1.ResourceQuotaStatus{Hard: hard, Used: corev1.ResourceList{corev1.ResourceRequestsMemory: resource.MustParse("0")}}
	if err := w.client.Status().Update(t.Context(), quota); err != nil {
		t.Fatal(err)
	}
	pod := appPod("quota")
	pod.Spec.Containers[0].Resources.Requests = quantities("10m", "50Mi")
	eventually(t, "the quota applies", func() bool {
		_, err := w.createIn(t, w.meshed, pod)
		return err != nil
	})
	_, err := w.createIn(t, w.meshed, pod)
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "exceeded quota: team-quota, requested: requests.memory=178Mi, used: requests.memory=0, limited: requests.memory=100Mi") {
		t.Errorf("kube-apiserver says: %v", err)
	}
	metav1.SetMetaDataAnnotation(&pod.ObjectMeta, "pillion.dev/memory-request", "50Mi")
	w.create(t, pod)
}
