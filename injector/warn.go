package injector

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/nearest"
)

// String is what an owner reads.
func (w Warning) String() string { return w.Reason.Code + ": " + w.Message }

// labelWarnings finds a label value that was meant to opt in.
func (i *Injector) labelWarnings(pod *Pod) []Warning {
	optIn := i.config.OptIn
	return []Warning{{ReasonLabelTypo, fmt.Sprintf("label %s is %q, so the pod gets no sidecar: only %q opts in, and \"false\" opts out",
		optIn.Label, shorten(pod.Metadata.Labels[optIn.Label]), optIn.Value)}}
}

// annotationWarnings finds annotations of ours that do not exist.
func (i *Injector) annotationWarnings(pod *Pod) []Warning {
	var unknown []string
	for key := range pod.Metadata.Annotations {
		if name, ours := strings.CutPrefix(key, AnnotationPrefix); ours && key != StatusAnnotation {
			if _, known := i.annotations[name]; !known {
				unknown = append(unknown, name)
			}
		}
	}
	slices.Sort(unknown)
	var warnings []Warning
	for _, name := range unknown {
		message := fmt.Sprintf("annotation %s%s is not known and has no effect", AnnotationPrefix, shorten(name))
		if near, ok := nearest.Name(name, i.annotationNames); ok {
			message += "; did you mean " + AnnotationPrefix + near + "?"
		}
		warnings = append(warnings, Warning{ReasonUnknownAnnotation, message})
	}
	return warnings
}

// podWarnings are about what the sidecar means for this pod.
func (i *Injector) podWarnings(v *view, req *Request, s *Sidecar) []Warning {
	var warnings []Warning
	add := func(reason Reason, format string, args ...any) {
		warnings = append(warnings, Warning{reason, fmt.Sprintf(format, args...)})
	}
	if s.Mode == v1alpha1.ModeClassic {
		if v.meantToEnd() {
			add(ReasonClassicJob, "the pod is meant to end, and in classic mode its sidecar goes on until something calls /quitquitquit on port %d", s.Run.StatusPort)
		}
		for _, c := range v.containers {
			if c.restartable() {
				add(ReasonInitNetwork, "init container %s keeps running and has no network from pillion-init's end until Envoy is up; use native mode", c.Name)
			}
		}
	}
	if level := req.Namespace.podSecurity(); refusedBy(level) != "" {
		add(ReasonPodSecurity, "namespace %s enforces Pod Security level %s, which refuses the pod for pillion-init's %s; it needs the level privileged", req.Namespace.Name, level, refusedBy(level))
	}
	for _, direction := range [...]struct {
		name  string
		ports []Port
	}{{"inbound", s.expiredInbound}, {"outbound", s.expiredOutbound}} {
		for _, p := range direction.ports {
			add(ReasonReservedPortExpired, "reserved %s port %s (%s) expired on %s and is still in force%s", direction.name, p.PortRange, p.Protocol, p.Expires, ownedBy(p.Owner))
		}
	}
	for _, c := range v.containers {
		for _, port := range c.Ports {
			if port.Protocol == "UDP" {
				add(ReasonUDPPort, "container %s: UDP port %d does not go through the proxy", c.Name, port.ContainerPort)
			}
		}
	}
	return warnings
}

func ownedBy(owner string) string {
	if owner == "" {
		return ""
	}
	return "; its owner is " + owner
}

// refusedBy is what a Pod Security level refuses of pillion-init, the one container of
// ours that is not restricted; empty where it refuses nothing.
func refusedBy(level string) string {
	switch level {
	case "baseline":
		return "capabilities NET_ADMIN and NET_RAW"
	case "restricted":
		return "capabilities NET_ADMIN and NET_RAW and its user root (runAsNonRoot: false, runAsUser: 0)"
	}
	return ""
}

// rank puts the most useful warnings first, since kube-apiserver cuts the rest:
// what a person has to act on, then what they may want to know.
func rank(warnings []Warning) {
	order := [...]Reason{
		ReasonPodsRefused, ReasonLabelMisplaced, ReasonLabelNameTypo, ReasonLabelTypo, ReasonNoSidecar,
		ReasonAnnotationMisplaced, ReasonUnknownAnnotation, ReasonPodSecurity, ReasonGracePeriodShort,
		ReasonNoPreStop, ReasonClassicJob, ReasonInitNetwork, ReasonOtherVersion, ReasonStatusForged,
		ReasonResourcesAdjusted, ReasonReservedPortExpired, ReasonUDPPort, ReasonGracePeriodRaised,
		ReasonPodChanged,
	}
	slices.SortStableFunc(warnings, func(a, b Warning) int {
		return cmp.Compare(slices.Index(order[:], a.Reason), slices.Index(order[:], b.Reason))
	})
}

// longestQuote bounds what is quoted of a value that somebody wrote.
const longestQuote = 64

func shorten(s string) string {
	if len(s) <= longestQuote {
		return s
	}
	return strings.ToValidUTF8(s[:longestQuote], "") + "..."
}
