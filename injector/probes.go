package injector

import (
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/iptables"
)

// probeEdit is a probe whose port is replaced by one that stands for it.
type probeEdit struct {
	container container
	// action as "livenessProbe/httpGet".
	probe, action  string
	current        intstr.IntOrString
	original       jsontext.Value
	listen, target uint16
}

// directProbes leads network probes around Envoy. Through it, a tcpSocket probe of
// a dead app would succeed (Envoy accepts), and a probe of a busy app could be
// shed like a request. Only the port changes, to one that the kernel redirects to
// the app's own; path, headers, scheme and gRPC service stay the app's business.
//
// A probe keeps its port where it names another host, where its port bypasses
// Envoy anyway, and where the port's name is not to be found.
func (i *Injector) directProbes(v *view, s *settings) (found []probeEdit, ports []iptables.ProbePort, err *refusal) {
	if s.probes.value != v1alpha1.ProbesDirect {
		return nil, nil, nil
	}
	for _, c := range v.containers {
		// kubelet probes what keeps running: app containers and native sidecars.
		if c.init && !c.restartable() {
			continue
		}
		for _, p := range [...]struct {
			name  string
			probe *Probe
		}{{"livenessProbe", c.LivenessProbe}, {"readinessProbe", c.ReadinessProbe}, {"startupProbe", c.StartupProbe}} {
			name, action := networkAction(p.probe)
			if action == nil || action.Host != "" {
				continue
			}
			edit := probeEdit{container: c, probe: p.name, action: name, current: action.Port}
			target := v.originalPort(&edit)
			if target == 0 || s.inbound.contains(target) || i.ownPorts.Contains(target) {
				continue
			}
			edit.target = target
			if ports, edit.listen = i.probePort(ports, target); edit.listen == 0 {
				return nil, nil, &refusal{ReasonNoSpace, tooManyProbes(c, p.name)}
			}
			found = append(found, edit)
		}
	}
	return found, ports, nil
}

func networkAction(p *Probe) (string, *NetworkAction) {
	switch {
	case p == nil:
	case p.HTTPGet != nil:
		return "httpGet", p.HTTPGet
	case p.TCPSocket != nil:
		return "tcpSocket", p.TCPSocket
	case p.GRPC != nil:
		return "grpc", p.GRPC
	}
	return "", nil
}

// originalPort is the port that the pod's owner wrote, as a number: what an
// earlier pass recorded if the probe still is as that pass left it. It fills in
// edit.original.
func (v *view) originalPort(edit *probeEdit) uint16 {
	edit.original = portValue(edit.current)
	port := edit.current
	if c, ok := v.changed[edit.statusPath()]; ok && string(c.To) == string(edit.original) {
		edit.original = c.From
		port = parsePortValue(c.From)
	}
	if port.Type == intstr.Int {
		return validPort(port.IntVal)
	}
	for _, p := range edit.container.Ports {
		if p.Name == port.StrVal {
			return validPort(p.ContainerPort)
		}
	}
	return 0
}

// validPort is 0 for what kube-apiserver is about to refuse.
func validPort(n int32) uint16 {
	if n < 1 || n > 65535 {
		return 0
	}
	return uint16(n)
}

func (e *probeEdit) statusPath() string {
	return e.container.name() + "." + e.probe + "." + e.action + ".port"
}

func (e *probeEdit) pointer() string {
	return e.container.pointer() + "/" + e.probe + "/" + e.action + "/port"
}

// apply writes the edit, if an earlier pass has not.
func (e *probeEdit) apply(to *edits) {
	listen := jsontext.Value(strconv.Itoa(int(e.listen)))
	to.record(e.statusPath(), e.original, listen)
	if e.current != intstr.FromInt32(int32(e.listen)) {
		to.replace(e.pointer(), listen)
	}
}

// probePort finds or takes the port that stands for target; 0 when none is left.
func (i *Injector) probePort(ports []iptables.ProbePort, target uint16) ([]iptables.ProbePort, uint16) {
	for _, p := range ports {
		if p.Target == target {
			return ports, p.Listen
		}
	}
	listen := int(i.config.Ports.FirstProbe) + len(ports)
	if listen > int(i.ownPorts.Last) {
		return ports, 0
	}
	return append(ports, iptables.ProbePort{Listen: uint16(listen), Target: target}), uint16(listen)
}

func portValue(p intstr.IntOrString) jsontext.Value {
	if p.Type == intstr.Int {
		return jsontext.Value(strconv.Itoa(int(p.IntVal)))
	}
	quoted, err := jsontext.AppendQuote(nil, p.StrVal)
	if err != nil {
		// Not UTF-8, which no decoded pod holds.
		return null()
	}
	return quoted
}

func parsePortValue(v jsontext.Value) intstr.IntOrString {
	if unquoted, err := jsontext.AppendUnquote(nil, v); err == nil {
		return intstr.FromString(string(unquoted))
	}
	n, err := strconv.ParseInt(string(v), 10, 32)
	if err != nil {
		return intstr.FromInt32(0)
	}
	return intstr.FromInt32(int32(n))
}

func tooManyProbes(c container, probe string) *field.Error {
	return field.Forbidden(c.path().Child(probe), "no port is left to stand for this probe's: the pod probes more distinct ports than ports.firstProbe leaves room for")
}
