package auditor

import (
	"context"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
)

// flawedStates are those of a pod whose sidecar does not work, the worse first: a
// damaged pod may have no network at all.
func flawedStates() []injector.State { return []injector.State{injector.Damaged, injector.Missed} }

// flawed is a pod that was missed or damaged.
type flawed struct {
	name  string
	uid   types.UID
	state injector.State
}

// group is the pods of a namespace with the same controller, or one bare pod.
type group struct {
	namespace string
	// controller is what made them, as a ReplicaSet; the zero value for a bare pod.
	controller metav1.OwnerReference
	// injected counts those whose sidecar is whole, of whatever version, and unready those
	// among them that are not Ready: the app may not work behind Envoy.
	injected, unready int
	flawed            []flawed
	// message says the state of one of the flawed pods, by state.
	message map[injector.State]string
}

// id tells groups apart.
func (g *group) id() types.UID {
	if g.controller.UID == "" && len(g.flawed) > 0 {
		return g.flawed[0].uid
	}
	return g.controller.UID
}

// in counts the pods in a state.
func (g *group) in(state injector.State) (count int, example string) {
	for _, pod := range g.flawed {
		if pod.state == state {
			count, example = count+1, pod.name
		}
	}
	return count, example
}

// findings are what a pass found.
type findings struct {
	// pods by state.
	pods map[injector.State]int
	// groups with flawed pods, and those that were asked for, namespace by namespace.
	groups []*group
}

// look goes through all pods. Of the groups it keeps those with flawed pods and those
// that keep wants.
func look(ctx context.Context, pods *pods, inject *injector.Injector, optIn v1alpha1.OptIn, keep func(types.UID) bool) (*findings, error) {
	namespaces, err := pods.namespaces(ctx, inject, optIn)
	if err != nil {
		return nil, err
	}
	f := &findings{pods: map[injector.State]int{}}
	for _, namespace := range namespaces {
		groups := map[types.UID]*group{}
		err := pods.in(ctx, namespace.Name, optIn, func(s *seen, pod *injector.Pod) {
			audit := inject.Audit(injector.Request{Pod: pod, Namespace: namespace})
			f.pods[audit.State]++
			add(groups, namespace.Name, s, &audit)
		})
		if err != nil {
			return nil, err
		}
		for _, g := range groups {
			if len(g.flawed) > 0 || keep(g.id()) {
				f.groups = append(f.groups, g)
			}
		}
	}
	return f, nil
}

// add puts a pod into its group.
func add(groups map[types.UID]*group, namespace string, s *seen, audit *injector.Audit) {
	controller := s.controller()
	id := controller.UID
	if id == "" {
		id = s.Metadata.UID
	}
	g := groups[id]
	if g == nil {
		g = &group{namespace: namespace, controller: controller}
		groups[id] = g
	}
	switch audit.State {
	case injector.Injected, injector.Outdated:
		g.injected++
		if !s.ready() {
			g.unready++
		}
	case injector.Missed, injector.Damaged:
		g.flawed = append(g.flawed, flawed{s.Metadata.Name, s.Metadata.UID, audit.State})
		if g.message == nil {
			g.message = map[injector.State]string{}
		}
		g.message[audit.State] = audit.Message
	case injector.NotInjected:
	}
}

// workload is what an owner knows the pods by.
type workload struct {
	apiVersion, kind, namespace, name string
	uid                               types.UID
}

// String is as Deployment shop/web.
func (w *workload) String() string { return fmt.Sprintf("%s %s/%s", w.kind, w.namespace, w.name) }
