package injector

// Reason is why a decision was made or a warning given: a member of a closed set
// (Reasons). Codes are stable: a code never gets another meaning, and a retired
// one is not given again.
type Reason struct {
	// Code as PIL001.
	Code string
	// Name in CamelCase, used as a metric label and in JSON output.
	Name string
	// Kind says where the reason can appear.
	Kind ReasonKind
	// Meaning is one sentence.
	Meaning string
	// Remedy says what somebody who does not want this can do.
	Remedy string
}

// ReasonKind says what a reason is about.
type ReasonKind string

// The kinds of reasons.
const (
	KindInject  ReasonKind = "inject"
	KindSkip    ReasonKind = "skip"
	KindRefuse  ReasonKind = "refuse"
	KindWarning ReasonKind = "warning"
	// KindRequest reasons are about the request, not about a pod in it.
	KindRequest ReasonKind = "request"
)

// String is the code and the name, as "PIL010 NotOptedIn".
func (r Reason) String() string { return r.Code + " " + r.Name }

// Anchor is the reason's place in docs/reference/reasons.md.
func (r Reason) Anchor() string { return r.Code }

// Why a pod is injected.
var (
	ReasonInjected = Reason{"PIL001", "Injected", KindInject,
		"The pod and its namespace opted in.", "Set the opt-in label on the pod template to \"false\"."}
	ReasonConverged = Reason{"PIL002", "Converged", KindInject,
		"The pod has the sidecar, and another webhook changed the pod since; what belongs to the sidecar was brought up to date.", "Nothing needs to be done."}
)

// Why a pod is admitted as it is.
var (
	ReasonNotOptedIn = Reason{"PIL010", "NotOptedIn", KindSkip,
		"The pod does not carry the opt-in label.", "Label the pod template (spec.template.metadata.labels of a workload), not the workload alone."}
	ReasonOptedOut = Reason{"PIL011", "OptedOut", KindSkip,
		"The pod's opt-in label says \"false\".", "Set it to the opt-in value."}
	ReasonLabelValue = Reason{"PIL012", "LabelValue", KindSkip,
		"The pod's opt-in label has a value that is not the opt-in value.", "Set it to exactly the opt-in value."}
	ReasonNamespaceNotOptedIn = Reason{"PIL013", "NamespaceNotOptedIn", KindSkip,
		"The namespace does not carry the opt-in label.", "Label the namespace as well."}
	ReasonExcludedNamespace = Reason{"PIL014", "ExcludedNamespace", KindSkip,
		"The namespace is excluded by configuration.", "Remove it from excludedNamespaces; kube-system and kube-node-lease always are excluded."}
	ReasonHostNetwork = Reason{"PIL015", "HostNetwork", KindSkip,
		"The pod uses the node's network, whose rules must not be changed.", "Set hostNetwork to false."}
	ReasonWindows = Reason{"PIL016", "Windows", KindSkip,
		"The pod runs on Windows, where there is no redirect.", "Nothing can be done: Pillion runs on Linux nodes."}
	ReasonMirrorPod = Reason{"PIL017", "MirrorPod", KindSkip,
		"The pod is the mirror of a static pod, which kubelet runs from its own file.", "Run it as a Deployment or DaemonSet."}
	ReasonAlreadyInjected = Reason{"PIL018", "AlreadyInjected", KindSkip,
		"The pod has the sidecar already, and nothing about it needs to change.", "To inject anew, remove the sidecar's containers, volumes and the pillion.dev/status annotation from the manifest."}
	ReasonOtherRevision = Reason{"PIL020", "OtherRevision", KindSkip,
		"The namespace's label pillion.dev/revision names another release than this one.", "Set the label to this release's revision, or remove it for the release without one."}
	ReasonNotACreate = Reason{"PIL019", "NotACreate", KindSkip,
		"Only the creation of a pod is of interest.", "Nothing needs to be done."}
)

// Why a pod is refused.
var (
	ReasonProxyUser = Reason{"PIL030", "ProxyUser", KindRefuse,
		"A container runs as the proxy's user or group, so its traffic would silently bypass the proxy.", "Run the container as another user and group, or set identity in the configuration."}
	ReasonPortTaken = Reason{"PIL031", "PortTaken", KindRefuse,
		"A container's port is one that the sidecar uses.", "Let the app listen on another port, or set ports in the configuration."}
	ReasonNameTaken = Reason{"PIL032", "NameTaken", KindRefuse,
		"A container or volume of the pod has a name that the sidecar uses.", "Rename it."}
	ReasonOtherMesh = Reason{"PIL033", "OtherMesh", KindRefuse,
		"The pod has another mesh's sidecar, and two redirects in one pod break its traffic.", "Opt out of one of the two."}
	ReasonAnnotationValue = Reason{"PIL034", "AnnotationValue", KindRefuse,
		"An annotation's value cannot be read or is out of bounds.", "Correct the value."}
	ReasonAnnotationNotAllowed = Reason{"PIL035", "AnnotationNotAllowed", KindRefuse,
		"The configuration does not let owners use this annotation.", "Remove it, or ask for it to be added to annotations.allowed."}
	ReasonNoSpace = Reason{"PIL036", "NoSpace", KindRefuse,
		"The pod has more distinct probe ports than there are ports to stand for them.", "Set lifecycle.probes to ThroughEnvoy for the namespace."}
)

// What an owner is warned of. From PIL063 on it is about a workload, before it makes
// any pod.
var (
	ReasonUnknownAnnotation = Reason{"PIL050", "UnknownAnnotation", KindWarning,
		"The pod has a pillion.dev/ annotation that Pillion does not know.", "Correct its name or remove it."}
	ReasonLabelTypo = Reason{"PIL051", "LabelTypo", KindWarning,
		"The opt-in label's value is nearly right, which does not count.", "Set it to exactly the opt-in value."}
	ReasonInitNetwork = Reason{"PIL052", "InitNetwork", KindWarning,
		"In classic mode an init container that keeps running or comes after pillion-init has no network until Envoy is up.", "Use native mode."}
	ReasonGracePeriodRaised = Reason{"PIL053", "GracePeriodRaised", KindWarning,
		"terminationGracePeriodSeconds was raised to hold the shutdown schedule.",
		"Nothing needs to be done if that is fine; the annotations pillion.dev/pre-drain-delay and drain-time give another schedule, and a container with a preStop hook of its own has no time added."}
	ReasonGracePeriodShort = Reason{"PIL054", "GracePeriodShort", KindWarning,
		"terminationGracePeriodSeconds cannot hold the shutdown schedule, so requests will be lost.", "Raise it to the value named."}
	ReasonReservedPortExpired = Reason{"PIL055", "ReservedPortExpired", KindWarning,
		"A reserved port's entry is past its date; it is still in force.", "Its owner removes or renews the entry."}
	ReasonUDPPort = Reason{"PIL056", "UDPPort", KindWarning,
		"UDP traffic does not go through the proxy.", "Nothing needs to be done if that is fine for the service."}
	ReasonPodSecurity = Reason{"PIL057", "PodSecurity", KindWarning,
		"The namespace's Pod Security level refuses NET_ADMIN and NET_RAW, which pillion-init needs; the level restricted also that it is root.", "Use a namespace with the privileged level for meshed pods."}
	ReasonResourcesAdjusted = Reason{"PIL058", "ResourcesAdjusted", KindWarning,
		"A request was above its limit; the value that the owner did not set was moved.", "Set both."}
	ReasonClassicJob = Reason{"PIL059", "ClassicJob", KindWarning,
		"In classic mode a pod that is meant to end does not end by itself: its sidecar goes on.", "Use native mode, or call /quitquitquit on the status port when the work is done."}
	ReasonStatusForged = Reason{"PIL060", "StatusWithoutSidecar", KindWarning,
		"The pod carries a status annotation without the sidecar; the annotation was replaced.", "Remove pillion.dev/status from the manifest."}
	ReasonOtherVersion = Reason{"PIL061", "OtherVersion", KindWarning,
		"The pod's sidecar was made by another version or configuration and was left as it is.", "Recreate the pod from its original manifest."}
	ReasonNoPreStop = Reason{"PIL062", "NoPreStop", KindWarning,
		"An app container without a preStop hook ends while clients still come.", "Give it a preStop hook that outlasts the shutdown schedule."}
	ReasonLabelMisplaced = Reason{"PIL063", "LabelMisplaced", KindWarning,
		"The opt-in label is on the workload or among annotations, where it has no effect.", "Move it to the labels of the pod template."}
	ReasonAnnotationMisplaced = Reason{"PIL064", "AnnotationMisplaced", KindWarning,
		"A pillion.dev/ annotation is on the workload, where it has no effect.", "Move it to the annotations of the pod template."}
	ReasonLabelNameTypo = Reason{"PIL065", "LabelNameTypo", KindWarning,
		"A label of the pod template has nearly the opt-in label's name, which does not count.", "Correct its name."}
	ReasonPodsRefused = Reason{"PIL066", "PodsRefused", KindWarning,
		"The workload was accepted, and its pods will be refused.", "Correct what the warning names."}
	ReasonNoSidecar = Reason{"PIL067", "NoSidecar", KindWarning,
		"The workload's pods opted in, and something else keeps them from getting a sidecar.", "Change what the warning names, or remove the opt-in label."}
	ReasonPodChanged = Reason{"PIL068", "PodChanged", KindWarning,
		"Injection changes something in the workload's pods outside of the sidecar's containers.",
		"Nothing needs to be done if that is fine; it is what the sidecar needs."}
)

// Why a request got no verdict about a pod.
var (
	ReasonBadReview = Reason{"PIL090", "BadReview", KindRequest,
		"The request is not an AdmissionReview that can be answered.", "Only kube-apiserver is expected to call this endpoint."}
	ReasonOverload = Reason{"PIL091", "Overload", KindRequest,
		"More requests are in flight than this replica can hold.", "Run more replicas."}
	ReasonInternal = Reason{"PIL092", "Internal", KindRequest,
		"The webhook failed; failurePolicy decides about the pod.", "Report it with the log line."}
	ReasonSelfCheck = Reason{"PIL093", "SelfCheck", KindRequest,
		"The patch did not fit the pod and was not sent; failurePolicy decides about the pod.", "Report it with the log line."}
	ReasonNoConfig = Reason{"PIL094", "NoConfig", KindRequest,
		"No configuration was ever loaded; failurePolicy decides about the pod.", "See the webhook's log for why."}
)

// Reasons is the whole set, by code.
func Reasons() []Reason {
	return []Reason{
		ReasonInjected, ReasonConverged,
		ReasonNotOptedIn, ReasonOptedOut, ReasonLabelValue, ReasonNamespaceNotOptedIn, ReasonExcludedNamespace,
		ReasonHostNetwork, ReasonWindows, ReasonMirrorPod, ReasonAlreadyInjected, ReasonNotACreate,
		ReasonOtherRevision,
		ReasonProxyUser, ReasonPortTaken, ReasonNameTaken, ReasonOtherMesh, ReasonAnnotationValue,
		ReasonAnnotationNotAllowed, ReasonNoSpace,
		ReasonUnknownAnnotation, ReasonLabelTypo, ReasonInitNetwork, ReasonGracePeriodRaised, ReasonGracePeriodShort,
		ReasonReservedPortExpired, ReasonUDPPort, ReasonPodSecurity, ReasonResourcesAdjusted, ReasonClassicJob,
		ReasonStatusForged, ReasonOtherVersion, ReasonNoPreStop, ReasonLabelMisplaced, ReasonAnnotationMisplaced,
		ReasonLabelNameTypo, ReasonPodsRefused, ReasonNoSidecar, ReasonPodChanged,
		ReasonBadReview, ReasonOverload, ReasonInternal, ReasonSelfCheck, ReasonNoConfig,
	}
}
