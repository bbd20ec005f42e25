package v1alpha1

import (
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// DefaultConfig is the configuration that an empty document stands for.
func DefaultConfig() *InjectorConfig {
	config := &InjectorConfig{TypeMeta: metav1.TypeMeta{APIVersion: APIVersion, Kind: KindInjectorConfig}}
	Default(config)
	return config
}

// Default fills in what a configuration does not say. Entries of Namespaces stay
// as they are: what they leave out, the level below decides.
func Default(config *InjectorConfig) {
	defaultTo(&config.OptIn.Label, "service-mesh-enabled")
	defaultTo(&config.OptIn.Value, "true")
	// The program and its image are released together.
	defaultTo(&config.Images.Init, "pillion-mesh/pillion-init:0.1.0")
	defaultTo(&config.Images.Envoy, "envoyproxy/envoy:distroless-v1.40.0")
	defaultTo(&config.Images.PullPolicy, "IfNotPresent")
	defaultTo(&config.Identity.UID, 15033)
	defaultTo(&config.Identity.GID, 15033)
	defaultTo(&config.Ports.Inbound, 15006)
	defaultTo(&config.Ports.Outbound, 15001)
	defaultTo(&config.Ports.Status, 15020)
	defaultTo(&config.Ports.FirstProbe, 15040)
	defaultSettings(&config.Settings)
	if config.Annotations.Allowed == nil {
		config.Annotations.Allowed = []string{AllAnnotations}
	}
	defaultBounds(&config.Annotations.Bounds)
}

func defaultSettings(settings *Settings) {
	defaultPointer(&settings.Sidecar.Mode, ModeAuto)
	resources := &settings.Sidecar.Resources
	defaultQuantity(&resources.Requests.CPU, "100m")
	defaultQuantity(&resources.Requests.Memory, "128Mi")
	// No CPU limit: a throttled proxy is slow for every caller of the service.
	defaultQuantity(&resources.Limits.Memory, "512Mi")
	defaultPointer(&settings.Sidecar.PodResources, PodResourcesRaise)
	defaultPointer(&settings.Redirect.WellKnownPorts, WellKnownReserved)
	if settings.Redirect.IPFamilies == nil {
		settings.Redirect.IPFamilies = []IPFamily{IPv4, IPv6}
	}
	lifecycle := &settings.Lifecycle
	defaultDuration(&lifecycle.PreDrainDelay, 30*time.Second)
	defaultDuration(&lifecycle.DrainTime, 20*time.Second)
	defaultDuration(&lifecycle.StartTimeout, 60*time.Second)
	defaultPointer(&lifecycle.GracePeriod, GracePeriodRaise)
	defaultPointer(&lifecycle.AppPreStop, AppPreStopSleep)
	defaultPointer(&lifecycle.Probes, ProbesDirect)
	defaultPointer(&settings.Envoy.LogLevel, "warning")
	defaultPointer(&settings.Envoy.Concurrency, 0)
	defaultPointer(&settings.Envoy.AccessLog, AccessLogOff)
	defaultDuration(&settings.Envoy.MaxUpstreamAge, 4*time.Minute)
	// Below Node.js' keep-alive, 5 s, the shortest that is common.
	defaultDuration(&settings.Envoy.UpstreamIdleTimeout, 4*time.Second)
	defaultDuration(&settings.Envoy.MaxDownstreamAge, 5*time.Minute)
	defaultPointer(&settings.Envoy.MeshService, MeshServiceConfigMap)
}

func defaultBounds(bounds *Bounds) {
	defaultQuantity(&bounds.CPU.Min, "10m")
	defaultQuantity(&bounds.CPU.Max, "4")
	defaultQuantity(&bounds.Memory.Min, "32Mi")
	defaultQuantity(&bounds.Memory.Max, "4Gi")
	defaultDuration(&bounds.PreDrainDelay.Min, 0)
	defaultDuration(&bounds.PreDrainDelay.Max, 5*time.Minute)
	defaultDuration(&bounds.DrainTime.Min, time.Second)
	defaultDuration(&bounds.DrainTime.Max, 10*time.Minute)
	defaultDuration(&bounds.StartTimeout.Min, time.Second)
	defaultDuration(&bounds.StartTimeout.Max, 10*time.Minute)
	defaultDuration(&bounds.ConnectionAge.Min, 0)
	defaultDuration(&bounds.ConnectionAge.Max, time.Hour)
	defaultTo(&bounds.MaxConcurrency, 16)
}

func defaultTo[T comparable](field *T, value T) {
	var unset T
	if *field == unset {
		*field = value
	}
}

func defaultPointer[T any](field **T, value T) {
	if *field == nil {
		*field = &value
	}
}

func defaultDuration(field **metav1.Duration, value time.Duration) {
	defaultPointer(field, metav1.Duration{Duration: value})
}

// defaultQuantity parses anew each time: a quantity caches its text when it is
// printed, so one that is shared would be written to by several goroutines.
func defaultQuantity(field **resource.Quantity, text string) {
	if *field == nil {
		defaultPointer(field, resource.MustParse(text))
	}
}
