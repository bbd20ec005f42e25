package injector

import (
	"bytes"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// frame is something rendered but for what differs from pod to pod: a container's
// arguments, a volume's ConfigMap. So frames are rendered once for a configuration.
type frame struct {
	before, after []byte
}

// frames are those of the two containers that are added.
type frames struct {
	init, sidecar frame
}

// shape is what frames depend on, beside the configuration.
type shape struct {
	mode                                             v1alpha1.SidecarMode
	wait                                             lifecycle.Wait
	drain                                            lifecycle.Drain
	cpuRequest, cpuLimit, memoryRequest, memoryLimit resource.Quantity
	mesh                                             bool
}

func shapeOf(s *Sidecar) shape {
	r := s.settings
	return shape{s.Mode, s.Wait, s.Drain, r.cpuRequest.value, r.cpuLimit.value, r.memoryRequest.value, r.memoryLimit.value, s.MeshConfigMap != ""}
}

func (i *Injector) newFrames(s *Sidecar) frames {
	return frames{newFrame(i.initContainer(s)), newFrame(i.sidecarContainer(s))}
}

// prepare renders the frames of pods whose owners say nothing: those that go on, and
// those that are meant to end.
func (i *Injector) prepare(s settings) {
	for _, restartPolicy := range [...]string{"Always", "Never"} {
		of := s
		of.service = setting[string]{"any", Source{Level: LevelPod}} // most have one
		sidecar := i.sidecar(newView(&Pod{Spec: PodSpec{RestartPolicy: restartPolicy}}), &of, &Request{}, nil)
		i.frames[shapeOf(sidecar)] = i.newFrames(sidecar)
	}
}

// differsHere stands for what differs in a rendered frame.
const differsHere = "this differs"

func newFrame(c *corev1.Container) frame {
	c.Args = []string{differsHere}
	return cut(render(c))
}

func newVolumeFrame(v *corev1.Volume) frame {
	v.ConfigMap.Name = differsHere
	return cut(render(v))
}

func cut(rendered jsontext.Value) frame {
	before, after, _ := bytes.Cut(rendered, []byte(`"`+differsHere+`"`))
	return frame{before, after}
}

// of is the volume with the ConfigMap's name.
func (f frame) of(name string) jsontext.Value {
	out := append(make(jsontext.Value, 0, len(f.before)+len(name)+2+len(f.after)), f.before...)
	return append(appendQuoted(out, name), f.after...)
}

// with is the container with a command and its arguments, each a JSON string.
func (f frame) with(command string, args []string) jsontext.Value {
	size := len(f.before) + len(f.after) + len(command) + 2
	for _, arg := range args {
		size += len(arg) + len(`,""`)
	}
	out := append(make(jsontext.Value, 0, size), f.before...)
	out = appendQuoted(out, command)
	for _, arg := range args {
		out = appendQuoted(append(out, ','), arg)
	}
	return append(out, f.after...)
}

// appendQuoted appends a string as JSON. Invalid UTF-8, which nothing decoded holds,
// is replaced.
func appendQuoted(to jsontext.Value, s string) jsontext.Value {
	quoted, err := jsontext.AppendQuote(to, strings.ToValidUTF8(s, "\uFFFD"))
	if err != nil {
		panic("quoting valid UTF-8: " + err.Error())
	}
	return quoted
}
