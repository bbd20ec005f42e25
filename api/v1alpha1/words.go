package v1alpha1

// SidecarMode says which kind of container Envoy runs in.
type SidecarMode string

const (
	// ModeAuto is native where Kubernetes has it (1.29 or newer), classic elsewhere.
	ModeAuto SidecarMode = "auto"
	// ModeNative is an init container with restartPolicy Always.
	ModeNative SidecarMode = "native"
	// ModeClassic is the first of the app containers.
	ModeClassic SidecarMode = "classic"
)

// PodResourcesPolicy says what happens with a pod's own spec.resources.
type PodResourcesPolicy string

const (
	// PodResourcesRaise adds the sidecar's resources and records the old values.
	PodResourcesRaise PodResourcesPolicy = "Raise"
	// PodResourcesKeep leaves them: the sidecar takes its share from the app's.
	PodResourcesKeep PodResourcesPolicy = "Keep"
)

// WellKnownPorts says what happens with Pillion's own list of reserved ports.
type WellKnownPorts string

const (
	// WellKnownReserved reserves them in both directions.
	WellKnownReserved WellKnownPorts = "Reserved"
	// WellKnownIgnored leaves the reserved ports to the configuration alone.
	WellKnownIgnored WellKnownPorts = "Ignored"
)

// IPFamily is IPv4 or IPv6.
type IPFamily string

// The two IP families.
const (
	IPv4 IPFamily = "IPv4"
	IPv6 IPFamily = "IPv6"
)

// GracePeriodPolicy says what to do when terminationGracePeriodSeconds is too
// short for the shutdown schedule.
type GracePeriodPolicy string

const (
	// GracePeriodRaise raises it and records the old value.
	GracePeriodRaise GracePeriodPolicy = "Raise"
	// GracePeriodWarn leaves it and warns.
	GracePeriodWarn GracePeriodPolicy = "Warn"
)

// AppPreStopPolicy says what an app container without a preStop hook gets.
type AppPreStopPolicy string

const (
	// AppPreStopSleep gives it a `sleep` of preDrainDelay plus drainTime.
	AppPreStopSleep AppPreStopPolicy = "Sleep"
	// AppPreStopNone gives it nothing.
	AppPreStopNone AppPreStopPolicy = "None"
)

// ProbePolicy says what happens with the app's network probes.
type ProbePolicy string

const (
	// ProbesDirect leads them around Envoy: a dead app fails its probe and a
	// busy one is not failed by load shedding.
	ProbesDirect ProbePolicy = "Direct"
	// ProbesThroughEnvoy leaves them as they are.
	ProbesThroughEnvoy ProbePolicy = "ThroughEnvoy"
)

// AccessLog says what Envoy writes about each request.
type AccessLog string

const (
	// AccessLogOff writes nothing.
	AccessLogOff AccessLog = "Off"
	// AccessLogJSON writes a line of JSON.
	AccessLogJSON AccessLog = "JSON"
)
