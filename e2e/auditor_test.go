package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/e2e/release"
	"github.com/pillion-mesh/pillion/injector"
)

// startAuditor starts pillion-controller as the chart's Deployment does, with the rights
// of its ServiceAccount. The certificate is the test's.
func (i *installation) startAuditor(t *testing.T, arguments ...string) *release.Controller {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := i.release.WriteKubeconfig(t.Context(), world.plane.Config, file); err != nil {
		t.Fatal(err)
	}
	c, err := i.release.StartController(t.Context(), world.controllerProgram, file, t.Output(), append(arguments, "--audit-interval=1s")...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := c.Stop(); err != nil {
			t.Error(err)
		}
	})
	return c
}

// auditing are values with which the controller does nothing but audits, of the
// namespaces of a revision: pods that other tests leave are not its business.
func auditing(revision string, evict bool) map[string]any {
	settings := map[string]any{}
	if revision != "" {
		settings["revision"] = revision
	}
	return map[string]any{
		"injector":   settings,
		"tls":        map[string]any{"source": "provided"},
		"controller": map[string]any{"auditor": map[string]any{"evict": map[string]any{"enabled": evict, "perMinute": 600}}},
	}
}

// metric is one series of the controller; -1 where there is none.
func metricOf(t *testing.T, c *release.Controller, series string) float64 {
	t.Helper()
	text, err := release.Get(t.Context(), c.StatusURL+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	return -1
}

// podsIn is how many pods the last audit has found in a state.
func podsIn(t *testing.T, c *release.Controller, state injector.State) float64 {
	t.Helper()
	return metricOf(t, c, fmt.Sprintf("pillion_controller_audited_pods{state=%q}", state))
}

// audited waits until an audit has found so many pods in a state.
func audited(t *testing.T, c *release.Controller, state injector.State, want float64) {
	t.Helper()
	var got float64
	defer func() {
		if got != want {
			t.Errorf("%v pods are %s, want %v", got, state, want)
		}
	}()
	eventually(t, fmt.Sprintf("%v pods are %s", want, state), func() bool {
		got = podsIn(t, c, state)
		return got == want
	})
}

// deployment makes a Deployment and its ReplicaSet, as its controller would.
func deployment(t *testing.T, c client.Client, namespace, name string, replicas int32) *appsv1.ReplicaSet {
	t.Helper()
	labels := map[string]string{"app": name, optInLabel: "true"}
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: appPod("").Spec}
	selector := &metav1.LabelSelector{MatchLabels: map[string]string{"app": name}}
	d := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec:       appsv1.DeploymentSpec{Replicas: &replicas, Selector: selector, Template: template},
	}
	if err := c.Create(t.Context(), d); err != nil {
		t.Fatal(err)
	}
	set := &appsv1.ReplicaSet{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: name + "-5d8f", Labels: labels,
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(d, appsv1.SchemeGroupVersion.WithKind("Deployment"))},
		},
		Spec: appsv1.ReplicaSetSpec{Replicas: &replicas, Selector: selector, Template: template},
	}
	if err := c.Create(t.Context(), set); err != nil {
		t.Fatal(err)
	}
	return set
}

// podOf makes a pod of a controller, running and Ready, as a node would report it.
func podOf(t *testing.T, c client.Client, owner client.Object, kind string, policy corev1.RestartPolicy) *corev1.Pod {
	t.Helper()
	return podWhich(t, c, owner, kind, policy, corev1.ConditionTrue)
}

// podWhich is podOf, with whether the pod is Ready.
func podWhich(t *testing.T, c client.Client, owner client.Object, kind string, policy corev1.RestartPolicy, ready corev1.ConditionStatus) *corev1.Pod {
	t.Helper()
	pod := appPod("")
	pod.GenerateName, pod.Namespace = owner.GetName()+"-", owner.GetNamespace()
	pod.Labels["app"] = strings.TrimSuffix(owner.GetName(), "-5d8f")
	pod.Spec.RestartPolicy = policy
	group := appsv1.SchemeGroupVersion
	if kind == "Job" {
		group = batchv1.SchemeGroupVersion
	} else {
		pod.Labels[appsv1.DefaultDeploymentUniqueLabelKey] = "5d8f"
	}
	pod.OwnerReferences = []metav1.OwnerReference{*metav1.NewControllerRef(owner, group.WithKind(kind))}
	if err := c.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	pod.Status.Phase = corev1.PodRunning
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: ready}}
	if err := c.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	return pod
}

// eventsOn are the Events about an object, with a reason.
func eventsOn(t *testing.T, c client.Client, namespace, kind, name, reason string) []eventsv1.Event {
	t.Helper()
	var list eventsv1.EventList
	if err := c.List(t.Context(), &list, client.InNamespace(namespace)); err != nil {
		t.Fatal(err)
	}
	return slices.DeleteFunc(list.Items, func(e eventsv1.Event) bool {
		return e.Regarding.Kind != kind || e.Regarding.Name != name || e.Reason != reason
	})
}

// told waits for the one Event on a workload and wants these words in it.
func told(t *testing.T, c client.Client, namespace, kind, name, reason string, words ...string) {
	t.Helper()
	var found []eventsv1.Event
	eventually(t, kind+" "+name+" has an Event "+reason, func() bool {
		found = eventsOn(t, c, namespace, kind, name, reason)
		return len(found) > 0
	})
	for _, word := range words {
		if !strings.Contains(found[0].Note, word) {
			t.Errorf("the Event on %s %s does not say %q: %s", kind, name, word, found[0].Note)
		}
	}
	if found[0].Regarding.UID == "" {
		t.Errorf("the Event has no uid, and kubectl describe would not show it")
	}
}

// passes waits until so many more complete audits have ended.
func passes(t *testing.T, c *release.Controller, more int) {
	t.Helper()
	eventually(t, "it leads, which is where the metric begins", func() bool {
		return metricOf(t, c, "pillion_controller_audit_last_success_timestamp_seconds") > 0
	})
	for range more {
		last := metricOf(t, c, "pillion_controller_audit_last_success_timestamp_seconds")
		eventually(t, "another audit is complete", func() bool {
			return metricOf(t, c, "pillion_controller_audit_last_success_timestamp_seconds") > last
		})
	}
}

// TestAuditorFindsWhatWasMissed: fifty pods are created while no webhook answers, some
// of which are never restarted. The audit counts all of them, each workload has one
// Event, and pillionctl says the same.
func TestAuditorFindsWhatWasMissed(t *testing.T) {
	c := apiServer(t)
	installed := install(t, auditing("", false))
	namespace := newNamespace(t, c, "audited-", map[string]string{optInLabel: "true"})
	// What other tests have left, since pillionctl knows no revisions.
	auditor := installed.startAuditor(t)
	passes(t, auditor, 1)
	missed, injected, skipped := podsIn(t, auditor, injector.Missed), podsIn(t, auditor, injector.Injected), podsIn(t, auditor, injector.NotInjected)
	if err := auditor.Stop(); err != nil {
		t.Fatal(err)
	}
	web := deployment(t, c, namespace, "web", 40)
	job := &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "report"},
		Spec:       batchv1.JobSpec{Template: corev1.PodTemplateSpec{Spec: corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever, Containers: appPod("").Spec.Containers}}},
	}
	if err := c.Create(t.Context(), job); err != nil {
		t.Fatal(err)
	}
	// These three are as they should be, or nobody's business.
	podOf(t, c, web, "ReplicaSet", corev1.RestartPolicyAlways)
	optedOut := appPod("opted-out")
	optedOut.Namespace, optedOut.Labels[optInLabel] = namespace, "false"
	onHost := appPod("on-host")
	onHost.Namespace, onHost.Spec.HostNetwork = namespace, true
	onHost.Spec.Containers[0].Ports = nil
	for _, pod := range []*corev1.Pod{optedOut, onHost} {
		if err := c.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	installed.stop(t)
	for range 40 {
		podOf(t, c, web, "ReplicaSet", corev1.RestartPolicyAlways)
	}
	for range 9 {
		podOf(t, c, job, "Job", corev1.RestartPolicyNever)
	}
	bare := appPod("bare")
	bare.Namespace = namespace
	if err := c.Create(t.Context(), bare); err != nil {
		t.Fatal(err)
	}

	auditor = installed.startAuditor(t)
	audited(t, auditor, injector.Missed, missed+50)
	audited(t, auditor, injector.Injected, injected+1)
	audited(t, auditor, injector.NotInjected, skipped+1)
	told(t, c, namespace, "Deployment", "web", "SidecarMissing", "pods without a sidecar that works: 40", "no webhook answered", "kubectl -n "+namespace+" rollout restart deployment/web")
	told(t, c, namespace, "Job", "report", "SidecarMissing", "pods without a sidecar that works: 9", "kubectl -n "+namespace+" delete pod report-")
	told(t, c, namespace, "Pod", "bare", "SidecarMissing", "create it again")
	passes(t, auditor, 2)
	if found := eventsOn(t, c, namespace, "Deployment", "web", "SidecarMissing"); len(found) != 1 || found[0].Series != nil {
		t.Errorf("it was told again: %+v", found)
	}
	checkStatus(t, namespace, map[string]int{"deployment/web": 40, "job/report": 9, "pod/bare": 1})
}

// checkStatus holds that pillionctl status finds the same pods missed.
func checkStatus(t *testing.T, namespace string, want map[string]int) {
	t.Helper()
	var said struct {
		Workloads []struct {
			Workload string `json:"workload"`
			Missed   int    `json:"missed"`
		} `json:"workloads"`
	}
	if err := json.Unmarshal(pillionctlStatus(t, namespace), &said); err != nil {
		t.Fatal(err)
	}
	got := map[string]int{}
	for _, line := range said.Workloads {
		if line.Missed > 0 {
			got[line.Workload] = line.Missed
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("pillionctl status says %v, want %v", got, want)
	}
}

// pillionctlStatus is what it says as JSON, with all rights.
func pillionctlStatus(t *testing.T, namespace string) []byte {
	t.Helper()
	// It ends with 1 where it found something.
	output, err := exec.CommandContext(t.Context(), world.ctlProgram, "status", "--kubeconfig", world.kubeconfig, "-n", namespace, "-o", "json").Output()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return output
}

// TestAuditorTellsPastForgedOwners: whoever may create pods writes what they like into
// ownerReferences. A kind that does not exist keeps nobody else from their Event.
func TestAuditorTellsPastForgedOwners(t *testing.T) {
	c := apiServer(t)
	installed := install(t, auditing("forged", false))
	forged := newNamespace(t, c, "audited-", nil)
	for n, apiVersion := range []string{"nowhere.example.com/v1", "apps/v99", "batch/v1", "not a version"} {
		pod := appPod("forged-" + strconv.Itoa(n))
		pod.Namespace = forged
		pod.OwnerReferences = []metav1.OwnerReference{{APIVersion: apiVersion, Kind: "Job", Name: "none", UID: types.UID("none-" + strconv.Itoa(n)), Controller: new(true)}}
		if err := c.Create(t.Context(), pod); err != nil {
			t.Fatal(err)
		}
	}
	web := deployment(t, c, forged, "web", 1)
	podOf(t, c, web, "ReplicaSet", corev1.RestartPolicyAlways)
	labelNamespace(t, c, forged, map[string]string{optInLabel: "true", v1alpha1.RevisionLabel: "forged"})
	auditor := installed.startAuditor(t)
	audited(t, auditor, injector.Missed, 5)
	told(t, c, forged, "Deployment", "web", "SidecarMissing")
	told(t, c, forged, "Job", "none", "SidecarMissing")
	if failed := metricOf(t, auditor, `pillion_controller_errors_total{what="audit"}`); failed != 0 {
		t.Errorf("%v audits have failed", failed)
	}
}

// TestAuditorThatNeverEnds: a leader without a complete audit is as one whose last is as
// old as its lead, or nobody would be alerted.
func TestAuditorThatNeverEnds(t *testing.T) {
	installed := install(t, auditing("never", false))
	began := time.Now().Unix()
	auditor := installed.startAuditor(t, "--audit-config="+filepath.Join(t.TempDir(), "none"))
	eventually(t, "an audit has failed", func() bool {
		return metricOf(t, auditor, `pillion_controller_errors_total{what="audit"}`) > 0
	})
	if last := metricOf(t, auditor, "pillion_controller_audit_last_success_timestamp_seconds"); last < float64(began) {
		t.Errorf("the last success is said to have been at %v, and the controller was started at %v", last, began)
	}
}

// TestAuditorReadsItsConfigurationAnew: another configuration is in force with the next
// audit, and one that cannot be used leaves the last one.
func TestAuditorReadsItsConfigurationAnew(t *testing.T) {
	c := apiServer(t)
	installed := install(t, auditing("reread", false))
	namespace := newNamespace(t, c, "audited-", map[string]string{optInLabel: "true", v1alpha1.RevisionLabel: "reread"})
	podOf(t, c, deployment(t, c, namespace, "web", 1), "ReplicaSet", corev1.RestartPolicyAlways)
	file := filepath.Join(t.TempDir(), "config.yaml")
	write := func(config string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const head = "apiVersion: pillion.dev/v1alpha1\nkind: InjectorConfig\nrevision: reread\n"
	document, err := installed.release.Config()
	if err != nil {
		t.Fatal(err)
	}
	write(string(document))
	auditor := installed.startAuditor(t, "--audit-config="+file)
	audited(t, auditor, injector.Injected, 1)
	write(head + "envoy: {logLevel: debug}\n")
	audited(t, auditor, injector.Outdated, 1)
	write(head + "envoy: {logLevels: debug}\n")
	eventually(t, "the mistake is counted", func() bool {
		return metricOf(t, auditor, `pillion_controller_errors_total{what="audit"}`) > 0
	})
	audited(t, auditor, injector.Outdated, 1)
	// An excluded namespace is nobody's business.
	write(head + "excludedNamespaces: [" + namespace + "]\n")
	audited(t, auditor, injector.Outdated, 0)
}
