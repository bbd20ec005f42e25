package injector

import (
	"fmt"
	"math"
	"net/netip"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/iptables"
)

// setting is a value with the level that set it.
type setting[T any] struct {
	value  T
	source Source
}

// set takes a value from a level that says something about it.
func set[T any](s *setting[T], value *T, source Source) {
	if value != nil {
		*s = setting[T]{*value, source}
	}
}

// setDuration is set for metav1's wrapper.
func setDuration(s *setting[time.Duration], value *metav1.Duration, source Source) {
	if value != nil {
		*s = setting[time.Duration]{value.Duration, source}
	}
}

// settings is v1alpha1.Settings with every field set and its source known. The
// zero quantity stands for a limit that nobody gave.
type settings struct {
	mode                                             setting[v1alpha1.SidecarMode]
	cpuRequest, cpuLimit, memoryRequest, memoryLimit setting[resource.Quantity]
	wellKnownPorts                                   setting[v1alpha1.WellKnownPorts]
	inbound, outbound                                ports
	excludedCIDRs                                    []setting[netip.Prefix]
	ipFamilies                                       setting[[]v1alpha1.IPFamily]
	preDrainDelay, drainTime, startTimeout           setting[time.Duration]
	gracePeriod                                      setting[v1alpha1.GracePeriodPolicy]
	podResources                                     setting[v1alpha1.PodResourcesPolicy]
	appPreStop                                       setting[v1alpha1.AppPreStopPolicy]
	probes                                           setting[v1alpha1.ProbePolicy]
	logLevel                                         setting[string]
	concurrency                                      setting[int32]
	accessLog                                        setting[v1alpha1.AccessLog]
	upstreamAge, upstreamIdle, downstreamAge         setting[time.Duration]
	meshService                                      setting[v1alpha1.MeshServiceDelivery]
	extraArgs                                        setting[[]string]
	service                                          setting[string]
}

// apply puts one level over the ones below it.
func (s *settings) apply(level *v1alpha1.Settings, source Source) {
	set(&s.mode, level.Sidecar.Mode, source)
	set(&s.cpuRequest, level.Sidecar.Resources.Requests.CPU, source)
	set(&s.memoryRequest, level.Sidecar.Resources.Requests.Memory, source)
	set(&s.cpuLimit, level.Sidecar.Resources.Limits.CPU, source)
	set(&s.memoryLimit, level.Sidecar.Resources.Limits.Memory, source)
	setDuration(&s.preDrainDelay, level.Lifecycle.PreDrainDelay, source)
	setDuration(&s.drainTime, level.Lifecycle.DrainTime, source)
	setDuration(&s.startTimeout, level.Lifecycle.StartTimeout, source)
	set(&s.gracePeriod, level.Lifecycle.GracePeriod, source)
	set(&s.podResources, level.Sidecar.PodResources, source)
	set(&s.appPreStop, level.Lifecycle.AppPreStop, source)
	set(&s.probes, level.Lifecycle.Probes, source)
	set(&s.logLevel, level.Envoy.LogLevel, source)
	set(&s.concurrency, level.Envoy.Concurrency, source)
	set(&s.accessLog, level.Envoy.AccessLog, source)
	setDuration(&s.upstreamAge, level.Envoy.MaxUpstreamAge, source)
	setDuration(&s.upstreamIdle, level.Envoy.UpstreamIdleTimeout, source)
	setDuration(&s.downstreamAge, level.Envoy.MaxDownstreamAge, source)
	set(&s.meshService, level.Envoy.MeshService, source)
	if level.Envoy.ExtraArgs != nil {
		s.extraArgs = setting[[]string]{level.Envoy.ExtraArgs, source}
	}
	s.applyRedirect(&level.Redirect, source)
}

// applyStrictly is apply for a level that has not been tried yet: it refuses what
// apply would pass over.
func (s *settings) applyStrictly(level *v1alpha1.Settings, source Source) error {
	redirect := &level.Redirect
	known := *s
	known.applyRedirect(&v1alpha1.RedirectSettings{WellKnownPorts: redirect.WellKnownPorts}, source)
	if err := known.inbound.check(&redirect.Inbound); err != nil {
		return fmt.Errorf("redirect.inbound.%w", err)
	}
	if err := known.outbound.check(&redirect.Outbound); err != nil {
		return fmt.Errorf("redirect.outbound.%w", err)
	}
	for _, text := range redirect.ExcludedCIDRs {
		if _, err := iptables.ParsePrefix(text); err != nil {
			return fmt.Errorf("redirect.excludedCIDRs: %w", err)
		}
	}
	s.apply(level, source)
	return nil
}

func (s *settings) applyRedirect(level *v1alpha1.RedirectSettings, source Source) {
	if level.WellKnownPorts != nil && s.wellKnownPorts.value != *level.WellKnownPorts {
		s.wellKnownPorts = setting[v1alpha1.WellKnownPorts]{*level.WellKnownPorts, source}
		s.inbound = s.inbound.withWellKnown(*level.WellKnownPorts)
		s.outbound = s.outbound.withWellKnown(*level.WellKnownPorts)
	}
	if level.IPFamilies != nil {
		s.ipFamilies = setting[[]v1alpha1.IPFamily]{level.IPFamilies, source}
	}
	s.inbound = s.inbound.apply(&level.Inbound, source)
	s.outbound = s.outbound.apply(&level.Outbound, source)
	// The list may be shared with the settings of every other pod.
	s.excludedCIDRs = slices.Clip(s.excludedCIDRs)
	for _, text := range level.ExcludedCIDRs {
		if prefix, err := iptables.ParsePrefix(text); err == nil {
			s.excludedCIDRs = append(s.excludedCIDRs, setting[netip.Prefix]{prefix, source})
		}
	}
}

// markDefaults turns the source of every value that is the default's into
// LevelDefault: a defaulted configuration does not say who set what.
func (s *settings) markDefaults(defaults *settings) {
	def := Source{Level: LevelDefault}
	markDefault(&s.mode, defaults.mode.value, def)
	markDefault(&s.wellKnownPorts, defaults.wellKnownPorts.value, def)
	markDefault(&s.preDrainDelay, defaults.preDrainDelay.value, def)
	markDefault(&s.drainTime, defaults.drainTime.value, def)
	markDefault(&s.startTimeout, defaults.startTimeout.value, def)
	markDefault(&s.gracePeriod, defaults.gracePeriod.value, def)
	markDefault(&s.podResources, defaults.podResources.value, def)
	markDefault(&s.appPreStop, defaults.appPreStop.value, def)
	markDefault(&s.probes, defaults.probes.value, def)
	markDefault(&s.logLevel, defaults.logLevel.value, def)
	markDefault(&s.concurrency, defaults.concurrency.value, def)
	markDefault(&s.accessLog, defaults.accessLog.value, def)
	markDefault(&s.upstreamAge, defaults.upstreamAge.value, def)
	markDefault(&s.upstreamIdle, defaults.upstreamIdle.value, def)
	markDefault(&s.downstreamAge, defaults.downstreamAge.value, def)
	markDefault(&s.meshService, defaults.meshService.value, def)
	for _, pair := range [...][2]*setting[resource.Quantity]{
		{&s.cpuRequest, &defaults.cpuRequest}, {&s.cpuLimit, &defaults.cpuLimit},
		{&s.memoryRequest, &defaults.memoryRequest}, {&s.memoryLimit, &defaults.memoryLimit},
	} {
		if pair[0].value.Cmp(pair[1].value) == 0 {
			pair[0].source = def
		}
	}
	if len(s.extraArgs.value) == 0 {
		s.extraArgs.source = def
	}
	if len(s.ipFamilies.value) == len(defaults.ipFamilies.value) {
		s.ipFamilies.source = def
	}
}

func markDefault[T comparable](s *setting[T], value T, source Source) {
	if s.value == value {
		s.source = source
	}
}

// balance makes every request at most its limit. The higher level wins; on the
// same level the limit does. It returns what was moved, and the requests that are
// for the pod's owner to correct, since they set the limit too.
func (s *settings) balance() (moved []string, wrong []refusal) {
	for _, r := range [...]struct {
		name           string
		request, limit *setting[resource.Quantity]
	}{{"cpu", &s.cpuRequest, &s.cpuLimit}, {"memory", &s.memoryRequest, &s.memoryLimit}} {
		request, limit := r.request.value, r.limit.value
		if limit.IsZero() || request.Cmp(limit) <= 0 {
			continue
		}
		switch byOwner := r.request.source.Level == LevelPod; {
		case byOwner && r.limit.source.Level == LevelPod:
			wrong = append(wrong, refusal{ReasonAnnotationValue, field.Invalid(annotationsPath().Key(AnnotationPrefix+r.name+"-request"), request.String(),
				fmt.Sprintf("must be at most the limit %s, which %s%s-limit sets", limit.String(), AnnotationPrefix, r.name))})
		case byOwner:
			moved = append(moved, fmt.Sprintf("%s limit raised from %s to the request %s", r.name, limit.String(), request.String()))
			*r.limit = setting[resource.Quantity]{request, computed(r.name + " request")}
		default:
			moved = append(moved, fmt.Sprintf("%s request lowered from %s to the limit %s", r.name, request.String(), limit.String()))
			*r.request = setting[resource.Quantity]{limit, computed(r.name + " limit")}
		}
	}
	return moved, wrong
}

// workers is Envoy's concurrency: what was asked for, or as many threads as the
// container has CPUs, never what the node has.
func (s *settings) workers() setting[int32] {
	if s.concurrency.value > 0 {
		return s.concurrency
	}
	cpu, from := s.cpuLimit.value, "cpu limit"
	if cpu.IsZero() {
		cpu, from = s.cpuRequest.value, "cpu request"
	}
	n := int32(math.Ceil(cpu.AsApproximateFloat64()))
	return setting[int32]{max(n, 1), computed(from + " " + cpu.String())}
}

func computed(from string) Source { return Source{LevelComputed, "from the " + from} }
