package injector

import (
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// container is one of the pod's own containers, where it stands.
type container struct {
	*Container
	init  bool
	index int
}

func (c container) list() string {
	if c.init {
		return "initContainers"
	}
	return "containers"
}

// path is where error messages find it.
func (c container) path() *field.Path { return field.NewPath("spec", c.list()).Index(c.index) }

// pointer is where a JSON patch finds it.
func (c container) pointer() string { return "/spec/" + c.list() + "/" + strconv.Itoa(c.index) }

// name is where Status.Changed finds it, which has to hold when containers move.
func (c container) name() string { return "spec." + c.list() + "[" + c.Name + "]" }

// restartable says whether it is a native sidecar of somebody else's.
func (c container) restartable() bool { return c.init && c.RestartPolicy == "Always" }

// view is the pod without what an earlier pass added to it.
type view struct {
	pod *Pod
	// ours says that an earlier pass added the sidecar, and status what it said.
	ours   bool
	status Status
	// containers are the pod's own, init containers first.
	containers []container
	// changed is status.Changed by path.
	changed map[string]Change
	// initAt and sidecarAt are where ours stand; the sidecar is an init container
	// in native mode.
	initAt, sidecarAt int
	sidecarIsInit     bool
}

// newView tells the pod's own parts from ours. Ours are recognised by both the
// containers and a status annotation that can be read: a container of our name
// alone is somebody else's.
func newView(pod *Pod) *view {
	v := &view{pod: pod, initAt: -1, sidecarAt: -1}
	isInit := func(c Container) bool { return c.Name == InitContainerName }
	isSidecar := func(c Container) bool { return c.Name == SidecarName }
	v.initAt = slices.IndexFunc(pod.Spec.InitContainers, isInit)
	v.sidecarAt = slices.IndexFunc(pod.Spec.InitContainers, isSidecar)
	if v.sidecarIsInit = v.sidecarAt >= 0; !v.sidecarIsInit {
		v.sidecarAt = slices.IndexFunc(pod.Spec.Containers, isSidecar)
	}
	if v.initAt >= 0 && v.sidecarAt >= 0 {
		if status, err := ParseStatus(pod.Metadata.Annotations[StatusAnnotation]); err == nil {
			v.ours, v.status = true, status
			v.changed = make(map[string]Change, len(status.Changed))
			for _, c := range status.Changed {
				v.changed[c.Path] = c
			}
		}
	}
	v.containers = make([]container, 0, len(pod.Spec.InitContainers)+len(pod.Spec.Containers))
	for n := range pod.Spec.InitContainers {
		v.add(container{&pod.Spec.InitContainers[n], true, n})
	}
	for n := range pod.Spec.Containers {
		v.add(container{&pod.Spec.Containers[n], false, n})
	}
	return v
}

func (v *view) add(c container) {
	if v.ours && (c.Name == InitContainerName || c.Name == SidecarName) {
		return
	}
	v.containers = append(v.containers, c)
}
