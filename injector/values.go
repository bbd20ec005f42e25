package injector

import (
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// Value is one resolved setting, for people to read.
type Value struct {
	// Path in Settings, as "lifecycle.drainTime".
	Path string
	// Text of the value, as "20s".
	Text   string
	Source Source
}

// Values is every resolved setting but for the reserved ports, in a fixed order,
// with the level that set it.
func (s *Sidecar) Values() []Value {
	r := s.settings
	limit := func(q resource.Quantity) string {
		if q.IsZero() {
			return "none"
		}
		return q.String()
	}
	values := []Value{
		{"sidecar.mode", string(s.Mode), Source{LevelComputed, s.ModeReason}},
		{"service", r.service.value, r.service.source},
		{"sidecar.resources.requests.cpu", r.cpuRequest.value.String(), r.cpuRequest.source},
		{"sidecar.resources.requests.memory", r.memoryRequest.value.String(), r.memoryRequest.source},
		{"sidecar.resources.limits.cpu", limit(r.cpuLimit.value), r.cpuLimit.source},
		{"sidecar.resources.limits.memory", limit(r.memoryLimit.value), r.memoryLimit.source},
		{"sidecar.podResources", string(r.podResources.value), r.podResources.source},
		{"redirect.wellKnownPorts", string(r.wellKnownPorts.value), r.wellKnownPorts.source},
		{"redirect.ipFamilies", joined(r.ipFamilies.value), r.ipFamilies.source},
		{"lifecycle.preDrainDelay", durationText(r.preDrainDelay.value), r.preDrainDelay.source},
		{"lifecycle.drainTime", durationText(r.drainTime.value), r.drainTime.source},
		{"lifecycle.startTimeout", durationText(r.startTimeout.value), r.startTimeout.source},
		{"lifecycle.gracePeriod", string(r.gracePeriod.value), r.gracePeriod.source},
		{"lifecycle.appPreStop", string(r.appPreStop.value), r.appPreStop.source},
		{"lifecycle.probes", string(r.probes.value), r.probes.source},
		{"envoy.logLevel", r.logLevel.value, r.logLevel.source},
		{"envoy.concurrency", strconv.Itoa(int(r.concurrency.value)), r.concurrency.source},
		{"envoy.accessLog", string(r.accessLog.value), r.accessLog.source},
		{"envoy.maxUpstreamAge", durationText(r.upstreamAge.value), r.upstreamAge.source},
		{"envoy.upstreamIdleTimeout", durationText(r.upstreamIdle.value), r.upstreamIdle.source},
		{"envoy.maxDownstreamAge", durationText(r.downstreamAge.value), r.downstreamAge.source},
		{"envoy.meshService", s.meshText(), r.meshService.source},
		{"envoy.extraArgs", joined(r.extraArgs.value), r.extraArgs.source},
	}
	if s.settings.mode.value == s.Mode {
		values[0].Source = r.mode.source
	}
	for _, c := range r.excludedCIDRs {
		values = append(values, Value{"redirect.excludedCIDRs[]", c.value.String(), c.source})
	}
	return values
}

// meshText says which ConfigMap the service's MeshService comes in.
func (s *Sidecar) meshText() string {
	switch policy := s.settings.meshService.value; {
	case policy != v1alpha1.MeshServiceConfigMap:
		return string(policy)
	case s.MeshConfigMap == "":
		return string(policy) + ", but no MeshService can be named so"
	default:
		return string(policy) + " " + s.MeshConfigMap
	}
}

func joined[T ~string](list []T) string {
	if len(list) == 0 {
		return "none"
	}
	texts := make([]string, len(list))
	for n, item := range list {
		texts[n] = string(item)
	}
	return strings.Join(texts, " ")
}
