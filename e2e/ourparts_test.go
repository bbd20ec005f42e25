package e2e

import (
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/pillion-mesh/pillion/injector"
)

// ourAdditions is everything that an injection may add.
const ourAdditions = `^(initContainers/(pillion-init|envoy)|containers/envoy|volumes/pillion-(bin|run|mesh)` +
	`|annotations/(cluster-autoscaler\.kubernetes\.io/safe-to-evict-local-volumes|kubectl\.kubernetes\.io/default-container))$`

// ourChanges is everything that an injection may change. The groups are a list of
// containers, the name of one, and the way to the value within it; or a list of the
// pod's own resources, and the name of one.
const ourChanges = `^(?:spec\.(containers|initContainers)\[([a-z0-9-]+)\]\.` +
	`((?:liveness|readiness|startup)Probe\.(?:httpGet|tcpSocket|grpc)\.port|lifecycle\.preStop)` +
	`|spec\.resources\.(requests|limits)\[(cpu|memory)\]` +
	`|spec\.terminationGracePeriodSeconds` +
	`|metadata\.annotations\[cluster-autoscaler\.kubernetes\.io/safe-to-evict-local-volumes\])$`

// object is a JSON object.
type object = map[string]any

// checkOnlyOurParts takes away from the meshed pod what its status says was added,
// takes back what it says was changed, and compares with the plain one.
func checkOnlyOurParts(t *testing.T, plain, meshed *corev1.Pod) injector.Status {
	t.Helper()
	status, err := injector.ParseStatus(meshed.Annotations[injector.StatusAnnotation])
	if err != nil {
		t.Fatalf("the pod was not injected: %v", err)
	}
	want, got := stored(t, plain), stored(t, meshed)
	undo(t, got, status)
	checkSame(t, want, got)
	return status
}

// undo takes our parts out of an injected pod, as its status names them.
func undo(t *testing.T, got object, status injector.Status) {
	t.Helper()
	for _, added := range status.Added {
		if !regexp.MustCompile(ourAdditions).MatchString(added) {
			t.Errorf("the status says that %s was added", added)
		}
		takeAway(t, got, added)
	}
	for _, change := range status.Changed {
		takeBack(t, got, change)
	}
	delete(child(got, "metadata", "annotations"), injector.StatusAnnotation)
}

// stored is a pod as kube-apiserver stores it, but for what differs from namespace
// to namespace and from request to request, the status, and the note in which
// LimitRanger says what it did when it ran last.
func stored(t *testing.T, pod *corev1.Pod) object {
	t.Helper()
	pod = pod.DeepCopy()
	pod.Namespace, pod.UID, pod.ResourceVersion, pod.ManagedFields = "", "", "", nil
	if pod.GenerateName != "" {
		pod.Name = ""
	}
	pod.Status = corev1.PodStatus{}
	delete(pod.Annotations, "kubernetes.io/limit-ranger")
	var fields object
	decode(t, asJSON(t, pod), &fields)
	return fields
}

// checkSame compares two pods. A list or map that is empty is none.
func checkSame(t *testing.T, want, got object) {
	t.Helper()
	for _, pod := range []object{want, got} {
		delete(child(pod, "metadata"), "creationTimestamp")
		dropEmpty(child(pod, "metadata"), "annotations")
		dropEmpty(child(pod, "spec"), "volumes")
		dropEmpty(child(pod, "spec"), "initContainers")
		dropEmpty(child(pod, "spec", "resources"), "requests")
		dropEmpty(child(pod, "spec", "resources"), "limits")
		dropEmpty(child(pod, "spec"), "resources")
		for _, list := range []string{"containers", "initContainers"} {
			items, _ := child(pod, "spec")[list].([]any)
			for _, item := range items {
				dropEmpty(item.(object), "lifecycle")
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the pod is not the original and exactly our parts (-original +undone):\n%s", diff)
	}
}

func dropEmpty(fields object, name string) {
	switch value := fields[name].(type) {
	case object:
		if len(value) == 0 {
			delete(fields, name)
		}
	case []any:
		if len(value) == 0 {
			delete(fields, name)
		}
	}
}

// child follows names; an object that is missing is empty.
func child(fields object, path ...string) object {
	for _, name := range path {
		fields, _ = fields[name].(object)
	}
	return fields
}

// named finds an item of a list in spec, -1 for none.
func named(pod object, list, name string) (items []any, at int) {
	items, _ = child(pod, "spec")[list].([]any)
	return items, slices.IndexFunc(items, func(item any) bool { return item.(object)["name"] == name })
}

func takeAway(t *testing.T, pod object, added string) {
	t.Helper()
	list, name, _ := strings.Cut(added, "/")
	if list == "annotations" {
		delete(child(pod, "metadata", "annotations"), name)
		return
	}
	items, at := named(pod, list, name)
	if at < 0 {
		t.Fatalf("the status says that %s was added, and it is not there", added)
	}
	child(pod, "spec")[list] = slices.Delete(items, at, at+1)
}

func takeBack(t *testing.T, pod object, change injector.Change) {
	t.Helper()
	match := regexp.MustCompile(ourChanges).FindStringSubmatch(change.Path)
	if match == nil {
		t.Fatalf("the status says that %s was changed", change.Path)
	}
	parent, field := child(pod, "spec"), "terminationGracePeriodSeconds"
	switch list, name, way := match[1], match[2], strings.Split(match[3], "."); {
	case list != "":
		items, at := named(pod, list, name)
		if at < 0 {
			t.Fatalf("the status says that %s was changed, and there is no such container", change.Path)
		}
		parent, field = child(items[at].(object), way[:len(way)-1]...), way[len(way)-1]
	case match[4] != "":
		parent, field = child(pod, "spec", "resources", match[4]), match[5]
	case strings.HasPrefix(change.Path, "metadata."):
		parent, field = child(pod, "metadata", "annotations"), "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
	}
	var from, to any
	decode(t, change.From, &from)
	decode(t, change.To, &to)
	if diff := cmp.Diff(to, parent[field]); diff != "" {
		t.Errorf("%s is not what the status says (-status +pod):\n%s", change.Path, diff)
	}
	if parent[field] = from; from == nil {
		delete(parent, field)
	}
}
