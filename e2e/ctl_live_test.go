package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/injector"
)

// why is what `pillionctl why KIND/NAME -o json` says.
type why struct {
	Verdict, Code string
	Cluster       struct {
		Release, Now, State, Message, Sidecar string
		Selected, Evidence                    []string
	}
}

func whyLive(t *testing.T, namespace, ref string) why {
	t.Helper()
	run := ctl(t, "why", ref, "-n", namespace, "-o", "json")
	var all []why
	run.into(t, &all)
	return all[0]
}

// mustCreate creates an object and deletes it at the end.
func mustCreate(t *testing.T, c client.Client, object client.Object) {
	t.Helper()
	if err := c.Create(t.Context(), object); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { deleteObject(t, c, object) })
}

// TestWhyLive: about a workload and a pod of a cluster it says what the manifest says,
// and what only the cluster knows.
func TestWhyLive(t *testing.T) {
	installed := install(t, nil)
	c := apiServer(t)
	namespace := newNamespace(t, c, "why-", map[string]string{optInLabel: "true"})
	deployment := checkedDeployment(namespace)
	mustCreate(t, c, deployment)

	said := whyLive(t, namespace, "deploy/web")
	hash := installed.injector.ConfigHash()
	if said.Code != injector.ReasonInjected.Code || fmt.Sprint(said.Cluster.Selected) != "[pillion/inject.pillion.dev]" ||
		said.Cluster.Now != "comes back with a sidecar of version dev, configuration "+hash+", native" {
		t.Errorf("it says of the Deployment %+v", said)
	}
	strict := newNamespace(t, c, "why-strict-", map[string]string{optInLabel: "true", strictLabel: "true"})
	mustCreate(t, c, checkedDeployment(strict))
	if said := whyLive(t, strict, "deployment/web"); fmt.Sprint(said.Cluster.Selected) != "[pillion/strict.inject.pillion.dev]" {
		t.Errorf("it says of a Deployment in a strict namespace %+v", said)
	}

	pod := &corev1.Pod{ObjectMeta: deployment.Spec.Template.ObjectMeta, Spec: deployment.Spec.Template.Spec}
	pod.Namespace, pod.Name = namespace, "well"
	mustCreate(t, c, pod)
	if said := whyLive(t, namespace, "pod/well"); said.Cluster.State != "injected" || said.Cluster.Sidecar != "version dev, configuration "+hash+", native" {
		t.Errorf("it says of an injected pod %+v", said)
	}

	installed.stop(t)
	missed := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "missed", Labels: deployment.Spec.Template.Labels}, Spec: *deployment.Spec.Template.Spec.DeepCopy()}
	mustCreate(t, c, missed)
	said = whyLive(t, namespace, "pod/missed")
	if said.Cluster.State != "missed" || len(said.Cluster.Evidence) != 2 || !strings.Contains(said.Cluster.Evidence[0], "no webhook answered in time") || !strings.Contains(said.Cluster.Evidence[1], "failed-open.") {
		t.Errorf("it says of a missed pod %+v", said)
	}
	if said := whyLive(t, namespace, "deploy/web"); !strings.HasPrefix(said.Cluster.Now, "comes back without a sidecar, though it opted in") {
		t.Errorf("without a webhook it says %+v", said)
	}

	// The other reason: the namespace became a member after the pod. Times are whole
	// seconds, so it is labelled until one has passed.
	eventually(t, "the labels are younger than the pod", func() bool {
		labelNamespace(t, c, namespace, map[string]string{optInLabel: "true", "again": strconv.FormatInt(time.Now().UnixNano(), 10)})
		return strings.Contains(whyLive(t, namespace, "pod/missed").Cluster.Evidence[0], "were last written")
	})
}

// TestWhyLiveRefuses: what it is not for is said, each with what is.
func TestWhyLiveRefuses(t *testing.T) {
	install(t, nil)
	c := apiServer(t)
	namespace := newNamespace(t, c, "why-", map[string]string{optInLabel: "true"})
	for _, test := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"why", "web", "-n", namespace}, 2, "write KIND/NAME, as deploy/web"},
		{[]string{"why", "gateway/web", "-n", namespace}, 2, `kind "gateway" is not known; accepted is one of deployment,`},
		{[]string{"why", "deploy/web", "-n", namespace}, 2, `deployments.apps "web" not found`},
		{[]string{"why", "deploy/web", "-n", namespace, "-f", "web.yaml"}, 2, "leave out -f"},
		{[]string{"enable", "pod/web", "-n", namespace}, 2, `pods "web" not found`},
		{[]string{"diff"}, 2, "with -f FILE"},
	} {
		if run := ctl(t, test.args...); run.status != test.status || !strings.Contains(run.stderr, test.says) {
			t.Errorf("%v ended with %d and said %q, want %d and %q", test.args, run.status, run.stderr, test.status, test.says)
		}
	}
}

// TestDiffConfigurationAndStatusOfNoNamespace: a misspelled namespace is not one in which all is well.
func TestDiffConfigurationAndStatusOfNoNamespace(t *testing.T) {
	install(t, nil)
	file := filepath.Join(t.TempDir(), "new.yaml")
	if err := os.WriteFile(file, []byte("apiVersion: pillion.dev/v1alpha1\nkind: InjectorConfig\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	plain := newNamespace(t, apiServer(t), "plain-", nil)
	for _, args := range [][]string{{"status"}, {"diff", "-f", file}} {
		if run := ctl(t, append(args, "-n", "shpo")...); run.status != 2 || !strings.Contains(run.stderr, "there is no namespace shpo") {
			t.Errorf("%v ended with %d: %s%s", args, run.status, run.stdout, run.stderr)
		}
		if run := ctl(t, append(args, "-n", plain)...); run.status != 0 || !strings.Contains(run.stderr, "namespace "+plain+" belongs to no release") {
			t.Errorf("%v ended with %d: %s%s", args, run.status, run.stdout, run.stderr)
		}
	}
}

// TestDiffConfiguration: a new configuration is compared on what is in the cluster.
func TestDiffConfiguration(t *testing.T) {
	install(t, nil)
	c := apiServer(t)
	namespace := newNamespace(t, c, "diff-", map[string]string{optInLabel: "true"})
	mustCreate(t, c, checkedDeployment(namespace))
	plain := checkedDeployment(namespace)
	plain.Name, plain.Spec.Template.Labels = "plain", map[string]string{"app": "shop"}
	mustCreate(t, c, plain)

	for _, test := range []struct {
		name, config string
		status       int
		says         []string
		not          string
	}{
		{"the same", "", 0, nil, "web"},
		{"of another namespace", "namespaces:\n- match: elsewhere\n  sidecar: {resources: {requests: {cpu: 250m}}}\n", 0, nil, "web"},
		{"other resources", "sidecar: {resources: {requests: {cpu: 250m}}}\n", 1, []string{"deployment/web -n " + namespace, "+        cpu: 250m", "-        cpu: 100m"}, "plain"},
		{"excluded", "excludedNamespaces: [" + namespace + "]\n", 1, []string{"was: inject PIL001", "new: skip PIL014", "-  - args:"}, "plain"},
		{"another revision", "revision: other\n", 2, []string{`is of revision "other"`}, "web"},
		{"not valid", "nonsense: 1\n", 2, []string{"nonsense"}, "web"},
	} {
		t.Run(test.name, func(t *testing.T) {
			file := filepath.Join(t.TempDir(), "new.yaml")
			if err := os.WriteFile(file, []byte("apiVersion: pillion.dev/v1alpha1\nkind: InjectorConfig\n"+test.config), 0o600); err != nil {
				t.Fatal(err)
			}
			run := ctl(t, "diff", "-f", file, "-n", namespace)
			if run.status != test.status || strings.Contains(run.stdout, test.not) {
				t.Errorf("it ended with %d, want %d: %s%s", run.status, test.status, run.stdout, run.stderr)
			}
			for _, words := range test.says {
				if !strings.Contains(run.stdout+run.stderr, words) {
					t.Errorf("it does not say %q: %s%s", words, run.stdout, run.stderr)
				}
			}
			if test.status == 1 {
				var list []struct{ Workload, Diff string }
				machine := ctl(t, "diff", "-f", file, "-n", namespace, "-o", "json")
				machine.into(t, &list)
				if len(list) != 1 || list[0].Workload != "deployment/web" || list[0].Diff == "" {
					t.Errorf("as JSON it says %s", machine.stdout)
				}
			}
		})
	}
}

// TestEnableAndDisable: the label goes to the pod template and comes away from it, and
// nothing else changes; not by a dry run, nor where kube-apiserver would refuse the pods.
func TestEnableAndDisable(t *testing.T) {
	install(t, nil)
	c := apiServer(t)
	namespace := newNamespace(t, c, "switch-", map[string]string{optInLabel: "true"})
	deployment := checkedDeployment(namespace)
	delete(deployment.Spec.Template.Labels, optInLabel)
	mustCreate(t, c, deployment)
	spec := func() string {
		var d appsv1.Deployment
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(deployment), &d); err != nil {
			t.Fatal(err)
		}
		return string(asJSON(t, d.Spec)) + string(asJSON(t, d.Labels))
	}
	before := spec()
	expect := func(status int, says string, args ...string) {
		t.Helper()
		run := ctl(t, append(args, "-n", namespace)...)
		if run.status != status || !strings.Contains(run.stdout+run.stderr, says) {
			t.Errorf("%v ended with %d, want %d and %q: %s%s", args, run.status, status, says, run.stdout, run.stderr)
		}
	}
	expect(0, `+    service-mesh-enabled: "true"`, "enable", "deploy/web", "--dry-run")
	expect(0, "+    name: envoy", "enable", "deploy/web", "--dry-run")
	if spec() != before {
		t.Error("a dry run changed something")
	}
	expect(0, "comes back with a sidecar", "enable", "deploy/web")
	if enabled := spec(); !strings.Contains(enabled, `"labels":{"app":"shop","service-mesh-enabled":"true"}`) || strings.Replace(enabled, `,"service-mesh-enabled":"true"`, "", 1) != before {
		t.Errorf("enabled, it is %s, and was %s", enabled, before)
	}
	expect(0, "nothing to do", "enable", "deploy/web")
	expect(0, "-    name: envoy", "disable", "deploy/web", "--dry-run")
	expect(0, "changed; its pods are replaced; `kubectl -n", "disable", "deploy/web")
	if spec() != before {
		t.Errorf("disabled again, it is %s, and was %s", spec(), before)
	}
	expect(0, "nothing to do", "disable", "deploy/web")

	labelNamespace(t, c, namespace, map[string]string{optInLabel: "true", "pod-security.kubernetes.io/enforce": "baseline"})
	eventually(t, "kube-apiserver knows of the level", func() bool {
		return ctl(t, "enable", "deploy/web", "--dry-run", "-n", namespace).status == 1
	})
	expect(1, "nothing was changed", "enable", "deploy/web")
	expect(1, "NET_ADMIN", "enable", "deploy/web")
	if spec() != before {
		t.Error("it was enabled though its pods would be refused")
	}
	labelNamespace(t, c, namespace, nil)
	eventually(t, "kube-apiserver knows of no label", func() bool {
		return strings.Contains(ctl(t, "enable", "deploy/web", "--dry-run", "-n", namespace).stderr, "without a sidecar that works")
	})
	expect(1, "kubectl label namespace "+namespace+" service-mesh-enabled=true", "enable", "deploy/web", "--dry-run")
	expect(1, "nothing was changed (--force", "enable", "deploy/web")
	if spec() != before {
		t.Error("it was enabled though its pods would have no sidecar")
	}
	expect(0, "comes back without a sidecar: namespace "+namespace, "enable", "deploy/web", "--force")
	if !strings.Contains(spec(), `"service-mesh-enabled":"true"`) {
		t.Error("it was not enabled by --force")
	}

	// The way back is open whatever becomes of pods.
	quota(t, c, namespace, map[corev1.ResourceName]string{corev1.ResourcePods: "0"}, map[corev1.ResourceName]string{corev1.ResourcePods: "0"})
	eventually(t, "the quota refuses pods", func() bool {
		return strings.Contains(ctl(t, "disable", "deploy/web", "--dry-run", "-n", namespace).stdout, "a pod created now: refused")
	})
	expect(0, "changed; its pods are replaced", "disable", "deploy/web")
	if spec() != before {
		t.Error("it was not disabled")
	}
}

// TestEnableWithoutPods: whoever may change workloads and create no pods is told that
// none was tried, and may enable.
func TestEnableWithoutPods(t *testing.T) {
	install(t, nil)
	c := apiServer(t)
	namespace := newNamespace(t, c, "switch-", map[string]string{optInLabel: "true"})
	deployment := checkedDeployment(namespace)
	delete(deployment.Spec.Template.Labels, optInLabel)
	mustCreate(t, c, deployment)
	kubeconfig, may := newUser(t, c)
	may(rule("apps", "deployments", "get,list,patch"), rule("", "namespaces,configmaps", "get,list"))
	var run ctlRun
	eventually(t, "the rights are noticed", func() bool {
		run = ctlAs(t, kubeconfig, "enable", "deploy/web", "-n", namespace)
		return run.status != 2
	})
	if run.status != 0 || !strings.Contains(run.stdout, "not tried, for want of the right to create pods") || !strings.Contains(run.stdout, "deploy/web: changed") {
		t.Errorf("it ended with %d: %s%s", run.status, run.stdout, run.stderr)
	}
}

// TestEnableSaysWhatFollows: pods of some kinds are replaced, those of others are not.
func TestEnableSaysWhatFollows(t *testing.T) {
	install(t, nil)
	c := apiServer(t)
	namespace := newNamespace(t, c, "switch-", map[string]string{optInLabel: "true"})
	web := checkedDeployment(namespace).Spec
	delete(web.Template.Labels, optInLabel)
	named := metav1.ObjectMeta{Namespace: namespace, Name: "web"}
	job := *web.Template.DeepCopy()
	job.Spec.RestartPolicy = corev1.RestartPolicyNever
	for _, object := range []client.Object{
		&appsv1.ReplicaSet{ObjectMeta: named, Spec: appsv1.ReplicaSetSpec{Selector: web.Selector, Template: web.Template}},
		&appsv1.DaemonSet{ObjectMeta: named, Spec: appsv1.DaemonSetSpec{Selector: web.Selector, Template: web.Template, UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}}},
		&appsv1.StatefulSet{ObjectMeta: named, Spec: appsv1.StatefulSetSpec{Selector: web.Selector, Template: web.Template}},
		&appsv1.Deployment{ObjectMeta: named, Spec: appsv1.DeploymentSpec{Selector: web.Selector, Template: web.Template, Paused: true}},
		&batchv1.CronJob{ObjectMeta: named, Spec: batchv1.CronJobSpec{Schedule: "@yearly", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: job}}}},
	} {
		mustCreate(t, c, object)
	}
	for ref, says := range map[string]string{
		"rs/web": "stay as they are, each until it is deleted", "ds/web": "(updateStrategy OnDelete)", "sts/web": "rollout status sts/web",
		"deploy/web": "rollout resume deploy/web", "cj/web": "the pods of its next Job",
	} {
		run := ctl(t, "enable", ref, "-n", namespace)
		if run.status != 0 || !strings.Contains(run.stdout, says) || strings.Contains(run.stdout, "rollout status") != (ref == "sts/web") {
			t.Errorf("enabling %s ended with %d: %s%s", ref, run.status, run.stdout, run.stderr)
		}
	}
}

// TestStatusOfAnotherVersion: pods are outdated by what the cluster's webhook makes, and
// not by the version of whoever asks; and each by the release of its namespace.
func TestStatusOfAnotherVersion(t *testing.T) {
	install(t, nil)
	install(t, map[string]any{"fullnameOverride": "second", "injector": map[string]any{"revision": "b", "sidecar": map[string]any{"resources": map[string]any{"requests": map[string]any{"cpu": "250m"}}}}})
	c := apiServer(t)
	program := filepath.Join(t.TempDir(), "pillionctl")
	build := exec.CommandContext(t.Context(), "go", "build", "-ldflags=-X github.com/pillion-mesh/pillion/injector.Version=v9.9.9", "-o", program, "../cmd/pillionctl")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	counts := map[string]string{}
	for revision, labels := range map[string]map[string]string{"": {optInLabel: "true"}, "b": {optInLabel: "true", "pillion.dev/revision": "b"}} {
		namespace := newNamespace(t, c, "skew-", labels)
		pod := appPod("web")
		pod.Namespace = namespace
		mustCreate(t, c, pod)
		stale := pod.DeepCopy()
		stale.Name, stale.ResourceVersion, stale.UID = "stale", "", ""
		stale.Annotations[injector.StatusAnnotation] = strings.Replace(stale.Annotations[injector.StatusAnnotation], `"version":"dev"`, `"version":"v0.0.1"`, 1)
		mustCreate(t, c, stale)
		counts[namespace] = revision
	}
	command := exec.CommandContext(context.WithoutCancel(t.Context()), program, "status", "-o", "json")
	command.Env = []string{"KUBECONFIG=" + world.kubeconfig}
	output, err := command.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); !ok || exit.ExitCode() != 1 || strings.Contains(string(exit.Stderr), "no pod could be tried") {
		t.Errorf("it ended with %v: %s", err, output)
	}
	var said struct {
		Workloads []struct {
			Namespace, Workload, Why string
			Injected, Outdated       int
		}
	}
	if err := json.Unmarshal(output, &said); err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, line := range said.Workloads {
		if _, ours := counts[line.Namespace]; !ours {
			continue
		}
		seen++
		if line.Workload == "pod/web" && line.Injected != 1 || line.Workload == "pod/stale" && (line.Outdated != 1 || !strings.Contains(line.Why, "new pods get version dev")) {
			t.Errorf("of revision %q it says %+v", counts[line.Namespace], line)
		}
	}
	if seen != 4 {
		t.Errorf("%d pods of 4 are told of: %s", seen, output)
	}
}
