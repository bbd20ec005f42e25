package injector

import (
	"slices"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

const (
	// evictAnnotation tells the cluster autoscaler which local volumes it may lose.
	evictAnnotation = "cluster-autoscaler.kubernetes.io/safe-to-evict-local-volumes"
	// defaultContainerAnnotation tells kubectl which container logs and exec mean.
	defaultContainerAnnotation = "kubectl.kubernetes.io/default-container"
)

// place puts the containers and volumes where they belong:
//
//	native:  pillion-init and envoy before the app's init containers, which so
//	         have their network through Envoy;
//	classic: envoy before the app's containers, which wait for its postStart hook;
//	         pillion-init behind the init containers, which so run before the rules.
//
// What an earlier pass placed stays if it is right, and is placed anew otherwise.
// It runs after the edits of the pod's own containers, whose positions it moves.
func (e *edits) place(v *view, i *Injector, s *Sidecar, p plan) {
	native := s.Mode == v1alpha1.ModeNative
	if !v.ours || v.status.Plan != p.hash || !v.inPlace(native) {
		e.removeOurs(v)
		inits, containers := v.own(true), v.own(false)
		switch {
		case native && inits == 0:
			e.add("/spec/initContainers", array(p.init, p.sidecar))
		case native:
			e.add("/spec/initContainers/0", p.init)
			e.add("/spec/initContainers/1", p.sidecar)
		case inits == 0:
			e.add("/spec/initContainers", array(p.init))
		default:
			e.add("/spec/initContainers/"+strconv.Itoa(inits), p.init)
		}
		if !native && containers == 0 {
			e.add("/spec/containers", array(p.sidecar))
		} else if !native {
			e.add("/spec/containers/0", p.sidecar)
		}
	}
	e.placeVolumes(v, i, s.Run.Service, p)
	list := "containers/"
	if native {
		list = "initContainers/"
	}
	e.added = append(e.added, "initContainers/"+InitContainerName, list+SidecarName, "volumes/"+BinVolume, "volumes/"+RunVolume)
	if p.mesh != nil {
		e.added = append(e.added, "volumes/"+MeshVolume)
	}
}

// inPlace says whether an earlier pass's containers still are where they belong:
// another webhook may have put its own before or behind them.
func (v *view) inPlace(native bool) bool {
	if native {
		return v.initAt == 0 && v.sidecarIsInit && v.sidecarAt == 1
	}
	return !v.sidecarIsInit && v.sidecarAt == 0 && v.initAt == len(v.pod.Spec.InitContainers)-1
}

// own counts the pod's own containers of one list.
func (v *view) own(init bool) int {
	n := 0
	for _, c := range v.containers {
		if c.init == init {
			n++
		}
	}
	return n
}

// removeOurs takes away what an earlier pass placed, from the back, so that the
// positions before it stay true.
func (e *edits) removeOurs(v *view) {
	if !v.ours {
		return
	}
	positions := []int{v.initAt}
	if v.sidecarIsInit {
		positions = append(positions, v.sidecarAt)
	} else {
		e.remove("/spec/containers/" + strconv.Itoa(v.sidecarAt))
	}
	slices.Sort(positions)
	for _, at := range slices.Backward(positions) {
		e.remove("/spec/initContainers/" + strconv.Itoa(at))
	}
}

func (e *edits) placeVolumes(v *view, i *Injector, service string, p plan) {
	volumes := v.pod.Spec.Volumes
	if len(volumes) == 0 && p.mesh == nil {
		e.add("/spec/volumes", i.volumes)
		return
	}
	if len(volumes) == 0 {
		e.add("/spec/volumes", array(i.binVolume, i.runVolume, p.mesh))
		return
	}
	for _, volume := range [...]struct {
		name  string
		value jsontext.Value
	}{{BinVolume, i.binVolume}, {RunVolume, i.runVolume}} {
		if volumeAt(volumes, volume.name) < 0 {
			e.add("/spec/volumes/-", volume.value)
		}
	}
	at := volumeAt(volumes, MeshVolume)
	// Another webhook may have made the pod one of another service.
	if ours := slices.Contains(v.status.Added, "volumes/"+MeshVolume); at >= 0 && ours && v.status.Service != service {
		e.remove("/spec/volumes/" + strconv.Itoa(at))
		at = -1
	}
	if at < 0 && p.mesh != nil {
		e.add("/spec/volumes/-", p.mesh)
	}
}

func volumeAt(volumes []Volume, name string) int {
	return slices.IndexFunc(volumes, func(have Volume) bool { return have.Name == name })
}

// annotation is one to be written; from is what the pod's owner had there.
type annotation struct {
	key, value string
	from       *string
}

// annotate writes the annotations, the status last, and returns what it says.
func (i *Injector) annotate(v *view, s *Sidecar, p plan, e *edits) *Status {
	wanted := v.wantedAnnotations(s)
	for _, a := range wanted {
		if a.from == nil {
			e.added = append(e.added, "annotations/"+a.key)
		} else {
			e.record("metadata.annotations["+a.key+"]", quote(*a.from), quote(a.value))
		}
	}
	status := &Status{
		Version: Version, Config: i.hash, Revision: i.config.Revision, Plan: p.hash,
		Mode: string(s.Mode), ModeReason: s.ModeReason, Service: s.Run.Service,
		Added: e.added, Changed: e.changed,
	}
	text, err := json.Marshal(status)
	if err != nil {
		panic("marshalling a status: " + err.Error()) // strings and valid JSON alone
	}
	wanted = append(wanted, annotation{key: StatusAnnotation, value: string(text)})

	current := v.pod.Metadata.Annotations
	if current == nil {
		all := make(map[string]string, len(wanted))
		for _, a := range wanted {
			all[a.key] = a.value
		}
		value, err := json.Marshal(all, json.Deterministic(true))
		if err != nil {
			panic("marshalling annotations: " + err.Error()) // strings alone
		}
		e.add("/metadata/annotations", value)
		return status
	}
	for _, a := range wanted {
		if have, ok := current[a.key]; !ok || have != a.value {
			// `add` replaces a member that is there.
			e.add("/metadata/annotations/"+escape(a.key), quote(a.value))
		}
	}
	return status
}

// wantedAnnotations are those beside the status.
func (v *view) wantedAnnotations(s *Sidecar) []annotation {
	wanted := make([]annotation, 0, 3)
	from := v.originalAnnotation(evictAnnotation)
	volumes := BinVolume + "," + RunVolume
	if from != nil && *from != "" {
		names := strings.Split(*from, ",")
		for _, name := range [...]string{BinVolume, RunVolume} {
			if !slices.Contains(names, name) {
				names = append(names, name)
			}
		}
		volumes = strings.Join(names, ",")
	}
	if from == nil || *from != volumes {
		wanted = append(wanted, annotation{evictAnnotation, volumes, from})
	}
	// In classic mode Envoy is the first container, which kubectl takes by default.
	if s.Mode == v1alpha1.ModeClassic && v.originalAnnotation(defaultContainerAnnotation) == nil {
		wanted = append(wanted, annotation{key: defaultContainerAnnotation, value: v.firstContainer()})
	}
	return wanted
}

// firstContainer is the app container that kubectl would take without a sidecar.
// Another webhook's container that came in front since does not count.
func (v *view) firstContainer() string {
	if chosen, ok := v.pod.Metadata.Annotations[defaultContainerAnnotation]; ok {
		return chosen
	}
	for _, c := range v.containers {
		if !c.init {
			return c.Name
		}
	}
	return ""
}

// originalAnnotation is what the pod's owner wrote, nil for nothing.
func (v *view) originalAnnotation(key string) *string {
	value, ok := v.pod.Metadata.Annotations[key]
	if !ok || (v.ours && slices.Contains(v.status.Added, "annotations/"+key)) {
		return nil
	}
	if change, changed := v.changed["metadata.annotations["+key+"]"]; changed && string(change.To) == string(quote(value)) {
		if from, err := jsontext.AppendUnquote(nil, change.From); err == nil {
			value = string(from)
		}
	}
	return &value
}

// quote is a string as JSON.
func quote(s string) jsontext.Value { return appendQuoted(nil, s) }
