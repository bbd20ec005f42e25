package injector

import (
	"cmp"
	"fmt"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/iptables"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// Source is the level that set a value.
type Source struct {
	// Level is default, config, namespace, pod or computed.
	Level Level
	// Detail says where on that level, as "namespaces[1] (payments-*)",
	// "annotation pillion.dev/log-level" or what it was computed from.
	Detail string
}

// String is what people read, as "pod: annotation pillion.dev/mode".
func (s Source) String() string {
	if s.Detail == "" {
		return string(s.Level)
	}
	return string(s.Level) + ": " + s.Detail
}

// Level is a place where settings come from; later ones win.
type Level string

// The levels, from the lowest to the highest.
const (
	LevelDefault   Level = "default"
	LevelConfig    Level = "config"
	LevelNamespace Level = "namespace"
	LevelPod       Level = "pod"
	// LevelComputed is for values that follow from others.
	LevelComputed Level = "computed"
)

// Port is a reserved port with everything that is known about it.
type Port struct {
	iptables.PortRange
	v1alpha1.ReservedPort
	Source Source
}

// Sidecar is everything resolved for one pod.
type Sidecar struct {
	// Mode is native or classic, never auto.
	Mode v1alpha1.SidecarMode
	// ModeReason says why, in one clause.
	ModeReason string
	// Resources of the envoy container, every value with a request set.
	Resources v1alpha1.Resources
	// Redirect, Run, Wait and Drain are the command lines of the containers.
	Redirect iptables.Redirect
	Run      lifecycle.Run
	Wait     lifecycle.Wait
	Drain    lifecycle.Drain
	// ReservedInbound and ReservedOutbound explain Redirect's reserved ports.
	ReservedInbound, ReservedOutbound []Port
	// MeshConfigMap is the name of the ConfigMap that carries the service's MeshService,
	// whether or not there is one; empty for a pod that has no volume for it.
	MeshConfigMap string
	// Policies for what is changed outside the sidecar.
	PodResources v1alpha1.PodResourcesPolicy
	GracePeriod  v1alpha1.GracePeriodPolicy
	AppPreStop   v1alpha1.AppPreStopPolicy
	Probes       v1alpha1.ProbePolicy

	settings                        *settings
	expiredInbound, expiredOutbound []Port
}

// resolve puts the levels over each other for one pod. The refusals are the
// owner's mistakes, all of them.
func (i *Injector) resolve(v *view, req *Request) (*settings, []Warning, []refusal) {
	s := i.base
	for _, level := range i.namespaces {
		if v1alpha1.MatchNamespace(level.settings.Match, req.Namespace.Name) {
			s.apply(&level.settings.Settings, level.source)
		}
	}
	refusals := i.applyAnnotations(v.pod, &s)
	if s.service.value == "" {
		s.service = serviceOf(v.pod)
	}
	moved, wrong := s.balance()
	refusals = append(refusals, wrong...)
	refusals = append(refusals, s.compareAges()...)
	var warnings []Warning
	for _, m := range moved {
		warnings = append(warnings, Warning{ReasonResourcesAdjusted, m})
	}
	return &s, warnings, refusals
}

// compareAges refuses ages that an owner made contradict each other, by the annotation
// that did.
func (s *settings) compareAges() []refusal {
	err := v1alpha1.CompareAges(s.upstreamAge.value, s.downstreamAge.value)
	name, value := "max-downstream-age", s.downstreamAge
	if value.source.Level != LevelPod {
		name, value = "max-upstream-age", s.upstreamAge
	}
	if err == nil || value.source.Level != LevelPod {
		return nil
	}
	if name == "max-upstream-age" {
		err = fmt.Errorf("must be above 0s and below maxDownstreamAge, %s: else servers close connections that clients are about to use", durationText(s.downstreamAge.value))
	}
	return []refusal{{ReasonAnnotationValue, field.Invalid(annotationsPath().Key(AnnotationPrefix+name), durationText(value.value), err.Error())}}
}

func annotationsPath() *field.Path { return field.NewPath("metadata", "annotations") }

func (i *Injector) applyAnnotations(pod *Pod, s *settings) []refusal {
	var refusals []refusal
	for n, key := range i.keys {
		value, ok := pod.Metadata.Annotations[key]
		if !ok {
			continue
		}
		a := &i.table[n]
		path := annotationsPath().Key(key)
		if !i.annotations[a.Name] {
			refusals = append(refusals, refusal{ReasonAnnotationNotAllowed, field.Forbidden(path, "the configuration does not let owners set it (annotations.allowed)")})
			continue
		}
		if err := a.parse(i, s, value, Source{LevelPod, "annotation " + key}); err != nil {
			refusals = append(refusals, refusal{ReasonAnnotationValue, field.Invalid(path, shorten(value), err.Error())})
		}
	}
	return refusals
}

// serviceOf is the service that a pod belongs to, where its owner did not say it
// by annotation.
func serviceOf(pod *Pod) setting[string] {
	for _, label := range [...]string{"app.kubernetes.io/name", "app"} {
		if value := pod.Metadata.Labels[label]; value != "" {
			return validService(value, "label "+label)
		}
	}
	for _, owner := range pod.Metadata.OwnerReferences {
		if owner.Controller {
			name := owner.Name
			// Deployments and Argo Rollouts name their ReplicaSets after their template.
			for _, label := range [...]string{"pod-template-hash", "rollouts-pod-template-hash"} {
				if hash := pod.Metadata.Labels[label]; hash != "" {
					name = strings.TrimSuffix(name, "-"+hash)
				}
			}
			if owner.Kind == "Job" {
				name = cronJobOf(name)
			}
			return validService(name, owner.Kind+" "+owner.Name)
		}
	}
	name := cmp.Or(pod.Metadata.Name, strings.TrimRight(pod.Metadata.GenerateName, "-."))
	return validService(name, "pod's name")
}

// cronJobOf is the name of the CronJob that made a Job, and the Job's own where none
// did. A CronJob's controller names each Job after the minute that it was due in,
// counted from 1970, as report-29742960. That is told from other numbers, as a date
// like 20261123, by lying between 2020 and 2100.
func cronJobOf(job string) string {
	const since2020, until2100 = 26_297_280, 68_374_080
	at := strings.LastIndexByte(job, '-')
	if at <= 0 {
		return job
	}
	minute, err := strconv.ParseUint(job[at+1:], 10, 64)
	if err != nil || minute < since2020 || minute > until2100 || strconv.FormatUint(minute, 10) != job[at+1:] {
		return job
	}
	return job[:at]
}

// validService keeps a name or label that the API server may yet refuse from
// reaching a command line: it validates when all webhooks have spoken.
func validService(name, from string) setting[string] {
	if lifecycle.ValidateService(name) != nil {
		return setting[string]{"unknown", noService()}
	}
	return setting[string]{name, computed(from)}
}

// noService is the source of a service's identity that nothing gives.
func noService() Source { return computed("lack of a service label") }

// meshConfigMap is the name of the ConfigMap with the service's MeshService; empty for
// a service that can have none: a MeshService is named like its service, which
// not every identity can be.
func (s *settings) meshConfigMap() string {
	if s.meshService.value != v1alpha1.MeshServiceConfigMap || s.service.source == noService() {
		return ""
	}
	return v1alpha1.MeshConfigMap(s.service.value)
}

// mode is native or classic, with the reason.
func (i *Injector) mode(s *settings) (v1alpha1.SidecarMode, string) {
	if s.mode.value != v1alpha1.ModeAuto {
		return s.mode.value, s.mode.source.String()
	}
	switch {
	case i.cluster == 0:
		return v1alpha1.ModeNative, "auto: kubernetesVersion is not set, so taken as new enough"
	case i.cluster.atLeast(nativeSidecarMinor):
		return v1alpha1.ModeNative, fmt.Sprintf("auto: Kubernetes %s has native sidecars", i.config.KubernetesVersion)
	default:
		return v1alpha1.ModeClassic, fmt.Sprintf("auto: Kubernetes %s has no native sidecars", i.config.KubernetesVersion)
	}
}

// sidecar turns resolved settings into what the containers are built from.
func (i *Injector) sidecar(v *view, s *settings, req *Request, probePorts []iptables.ProbePort) *Sidecar {
	c := &Sidecar{
		ReservedInbound: s.inbound.entries, ReservedOutbound: s.outbound.entries,
		PodResources: s.podResources.value, GracePeriod: s.gracePeriod.value, AppPreStop: s.appPreStop.value, Probes: s.probes.value,
		settings:       s,
		expiredInbound: s.inbound.expired(req.Now), expiredOutbound: s.outbound.expired(req.Now),
	}
	c.Mode, c.ModeReason = i.mode(s)
	c.Drain = drainOf(v, s)
	s.concurrency = s.workers()
	c.Resources = v1alpha1.Resources{
		Requests: v1alpha1.ResourceValues{CPU: &s.cpuRequest.value, Memory: &s.memoryRequest.value},
		Limits:   v1alpha1.ResourceValues{CPU: given(&s.cpuLimit.value), Memory: given(&s.memoryLimit.value)},
	}
	c.Redirect = i.redirect(s)
	c.Redirect.ProbePorts = probePorts
	c.Run = lifecycle.Run{
		Service:     s.service.value,
		InboundPort: uint16(i.config.Ports.Inbound), OutboundPort: uint16(i.config.Ports.Outbound), StatusPort: uint16(i.config.Ports.Status),
		Concurrency: int(s.concurrency.value),
		MemoryLimit: s.memoryLimit.value.Value(),
		LogLevel:    s.logLevel.value,
		DrainTime:   s.drainTime.value,
		IPv6:        c.Redirect.IPv6,
		UpstreamAge: s.upstreamAge.value, UpstreamIdle: s.upstreamIdle.value, DownstreamAge: s.downstreamAge.value,
		AccessLog:   s.accessLog.value == v1alpha1.AccessLogJSON,
		QuitWithApp: c.Mode == v1alpha1.ModeClassic && v.meantToEnd(),
		StayForApp:  c.Mode == v1alpha1.ModeClassic && !v.meantToEnd(),
		ExtraArgs:   s.extraArgs.value,
	}
	c.MeshConfigMap = s.meshConfigMap()
	c.Wait = lifecycle.Wait{Timeout: s.startTimeout.value, StatusPort: c.Run.StatusPort}
	return c
}

// given is nil for the zero quantity, which stands for no limit.
func given(q *resource.Quantity) *resource.Quantity {
	if q.IsZero() {
		return nil
	}
	return q
}

func (i *Injector) redirect(s *settings) iptables.Redirect {
	r := iptables.Redirect{
		ProxyUID: uint32(i.config.Identity.UID), ProxyGID: uint32(i.config.Identity.GID),
		InboundPort: uint16(i.config.Ports.Inbound), OutboundPort: uint16(i.config.Ports.Outbound),
		OwnPorts:        i.ownPorts,
		ReservedInbound: s.inbound.ranges, ReservedOutbound: s.outbound.ranges,
	}
	for _, c := range s.excludedCIDRs {
		r.ExcludedCIDRs = append(r.ExcludedCIDRs, c.value)
	}
	for _, family := range s.ipFamilies.value {
		r.IPv4 = r.IPv4 || family == v1alpha1.IPv4
		r.IPv6 = r.IPv6 || family == v1alpha1.IPv6
	}
	return r
}
