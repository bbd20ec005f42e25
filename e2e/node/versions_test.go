package node

import (
	"context"
	"fmt"
	"os"
	"regexp"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/e2e/admissions"
	"github.com/pillion-mesh/pillion/injector"
)

// TestTwoVersionsAtOnce: while the webhook is upgraded, replicas of two versions answer
// for one Service. What they make of a pod differs by the version that is recorded in it
// alone; a pod that has passed one of them and is shown to the other again, since another
// webhook changed it, has one sidecar. Those of the other version are listed as outdated.
//
// The other version is this tree's, under another name.
func TestTwoVersionsAtOnce(t *testing.T) {
	c, err := client.New(apiServerConfig(t), client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	this := os.Getenv("PILLION_IMAGES_TAG")
	previous := this + "-previous"
	installOther(t, "versions", "note")
	ns := newNamespace(t, "versions", optedIn, "other=versions")
	addReplicaOf(t, c, previous)
	// kube-apiserver keeps its connections, and so its replicas, until these go.
	kubectl(t, "-n", release, "rollout", "restart", "deployment/pillion-webhook")
	rolledOut(t, release, "deployment/pillion-webhook")
	both := func(pods []corev1.Pod) bool {
		seen := map[string]bool{}
		for n := range pods {
			seen[versionOf(t, &pods[n])] = true
		}
		return seen[this] && seen[previous]
	}
	eventually(t, "both versions answer", func() bool { return both(createTogether(t, c, ns, 0, client.DryRunAll)) })
	var pods []corev1.Pod
	eventually(t, "both versions have answered for stored pods", func() bool {
		pods = append(pods, createTogether(t, c, ns, len(pods))...)
		return both(pods)
	})
	outdated := 0
	for n := range pods {
		if version := versionOf(t, &pods[n]); version == previous {
			outdated++
		} else if version != this {
			t.Errorf("pod %s is of version %q", pods[n].Name, version)
		}
		if diff := cmp.Diff(anonymous(&pods[0], previous, this), anonymous(&pods[n], previous, this)); diff != "" {
			t.Errorf("pods %s and %s differ (-first +other):\n%s", pods[0].Name, pods[n].Name, diff)
		}
		if names := initContainerNames(&pods[n]); names != "pillion-init envoy" {
			t.Errorf("pod %s has the init containers %q", pods[n].Name, names)
		}
		if pods[n].Annotations["example.com/note"] == "" {
			t.Errorf("the other webhook was not asked about pod %s", pods[n].Name)
		}
	}
	t.Logf("%d pods, %d of them of the previous version", len(pods), outdated)
	output, code := pillionctl(t, "status", "--outdated", "-n", ns)
	listed := regexp.MustCompile(`(?m)^\S+ +pod/\S+ +0 +1 +0 +0 +0 .*version `+regexp.QuoteMeta(previous)).FindAllString(output, -1)
	if code != 1 || len(listed) != outdated {
		t.Errorf("pillionctl status --outdated ended with %d and listed %d of %d:\n%s", code, len(listed), outdated, output)
	}
}

// addReplicaOf adds a replica of another version beside those of the release, for the
// length of a test.
func addReplicaOf(t *testing.T, c client.Client, tag string) {
	t.Helper()
	var of appsv1.Deployment
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: release, Name: "pillion-webhook"}, &of); err != nil {
		t.Fatal(err)
	}
	other := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: release, Name: "webhook-of-another-version"}, Spec: *of.Spec.DeepCopy()}
	const label = "test.pillion.dev/version"
	other.Spec.Selector.MatchLabels[label], other.Spec.Template.Labels[label] = tag, tag
	other.Spec.Replicas = new(int32(2))
	webhook := &other.Spec.Template.Spec.Containers[0]
	image, _, _ := strings.Cut(webhook.Image, ":")
	webhook.Image = image + ":" + tag
	webhook.Resources.Requests[corev1.ResourceCPU] = resource.MustParse("10m")
	if err := c.Create(t.Context(), other); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Delete(context.WithoutCancel(t.Context()), other); err != nil {
			t.Error(err)
		}
	})
	rolledOut(t, release, "deployment/"+other.Name)
}

// createTogether creates pods at once, over as many connections from kube-apiserver to
// the replicas. They are never scheduled.
func createTogether(t *testing.T, c client.Client, ns string, from int, options ...client.CreateOption) []corev1.Pod {
	t.Helper()
	pods := make([]corev1.Pod, 10)
	var all sync.WaitGroup
	for n := range pods {
		pods[n] = *admissions.Pod(ns, fmt.Sprintf("pod-%d", from+n))
		pods[n].Spec.AutomountServiceAccountToken = new(false) // its volume has a random name
		pods[n].Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "pillion.dev/versions"}}
		all.Go(func() {
			if err := c.Create(t.Context(), &pods[n], options...); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	return pods
}

func versionOf(t *testing.T, pod *corev1.Pod) string {
	t.Helper()
	status, err := injector.ParseStatus(pod.Annotations[injector.StatusAnnotation])
	if err != nil {
		t.Fatalf("pod %s: %v", pod.Name, err)
	}
	return status.Version
}

// anonymous is what the webhooks made of a pod, without its name and its version.
func anonymous(pod *corev1.Pod, previous, this string) corev1.Pod {
	annotations := map[string]string{}
	for name, value := range pod.Annotations {
		annotations[name] = strings.ReplaceAll(value, `"`+previous+`"`, `"`+this+`"`)
	}
	return corev1.Pod{ObjectMeta: metav1.ObjectMeta{Labels: pod.Labels, Annotations: annotations}, Spec: pod.Spec}
}

func initContainerNames(pod *corev1.Pod) string {
	var names []string
	for n := range pod.Spec.InitContainers {
		names = append(names, pod.Spec.InitContainers[n].Name)
	}
	return strings.Join(names, " ")
}
