package injector

import (
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"gomodules.xyz/jsonpatch/v2"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/iptables"
)

// Injector holds one configuration, ready to be used by any number of goroutines.
// It is never changed; a new configuration makes a new one.
type Injector struct {
	config  *v1alpha1.InjectorConfig
	hash    string
	cluster clusterVersion
	// base are the settings for a pod whose namespace and owner say nothing.
	base       settings
	namespaces []namespaceLevel
	// frames are rendered for the shapes that most pods have.
	frames map[shape]frames
	// annotations by name, and the names for suggestions.
	table           []Annotation
	keys            []string
	annotations     map[string]bool // name -> allowed
	annotationNames []string
	ownPorts        iptables.PortRange
	// volume JSON is the same for every pod.
	volumes              jsontext.Value
	binVolume, runVolume jsontext.Value
	// meshVolume lacks the ConfigMap's name.
	meshVolume frame
}

// namespaceLevel is one entry of the configuration's namespaces.
type namespaceLevel struct {
	settings *v1alpha1.NamespaceSettings
	source   Source
}

// New prepares a configuration that has been defaulted and validated. It fails
// where the configuration contradicts itself in a way that only shows when its
// levels are put over each other.
func New(config *v1alpha1.InjectorConfig) (*Injector, error) {
	i := &Injector{
		config:   config,
		table:    Annotations(),
		ownPorts: iptables.PortRange{First: v1alpha1.FirstOwnPort, Last: v1alpha1.LastOwnPort},
	}
	volumes := sharedVolumes()
	i.binVolume, i.runVolume = render(volumes[0]), render(volumes[1])
	i.volumes = array(i.binVolume, i.runVolume)
	i.meshVolume = newVolumeFrame(meshVolume())
	var err error
	if i.cluster, err = parseClusterVersion(config.KubernetesVersion); err != nil {
		return nil, err
	}
	if i.hash, err = configHash(config); err != nil {
		return nil, err
	}
	if err := i.allowAnnotations(); err != nil {
		return nil, err
	}
	if err := i.layer(); err != nil {
		return nil, err
	}
	return i, nil
}

// ConfigHash identifies the configuration, in the status annotation and in metrics.
func (i *Injector) ConfigHash() string { return i.hash }

func configHash(config *v1alpha1.InjectorConfig) (string, error) {
	canonical, err := json.Marshal(config, json.Deterministic(true))
	if err != nil {
		return "", fmt.Errorf("hashing the configuration: %w", err)
	}
	sum := sha256.Sum256(canonical)
	return shortHash(sum[:]), nil
}

func (i *Injector) allowAnnotations() error {
	i.annotations = make(map[string]bool, len(i.table))
	allowed := i.config.Annotations.Allowed
	all := slices.Contains(allowed, "*")
	for _, a := range i.table {
		i.keys = append(i.keys, AnnotationPrefix+a.Name)
		i.annotationNames = append(i.annotationNames, a.Name)
		i.annotations[a.Name] = all || slices.Contains(allowed, a.Name)
	}
	for n, name := range allowed {
		if _, known := i.annotations[name]; !known && name != "*" {
			return field.NotSupported(field.NewPath("annotations", "allowed").Index(n), name, append(i.annotationNames, "*"))
		}
	}
	return nil
}

// layer puts the configuration over the defaults, and tries each namespace's
// settings on top of that.
func (i *Injector) layer() error {
	var defaults settings
	if err := defaults.applyStrictly(&v1alpha1.DefaultConfig().Settings, Source{Level: LevelDefault}); err != nil {
		return fmt.Errorf("the defaults: %w", err)
	}
	if err := i.base.applyStrictly(&i.config.Settings, Source{Level: LevelConfig}); err != nil {
		return err
	}
	if err := i.redirect(&i.base).Validate(); err != nil {
		return err
	}
	i.base.markDefaults(&defaults)
	i.frames = map[shape]frames{}
	i.prepare(i.base)
	for n := range i.config.Namespaces {
		entry := &i.config.Namespaces[n]
		level := namespaceLevel{entry, Source{LevelNamespace, fmt.Sprintf("namespaces[%d] (%s)", n, entry.Match)}}
		trial := i.base
		if err := trial.applyStrictly(&entry.Settings, level.source); err != nil {
			return fmt.Errorf("namespaces[%d].%w", n, err)
		}
		i.namespaces = append(i.namespaces, level)
		i.prepare(trial)
	}
	return nil
}

// Inject decides on one pod.
func (i *Injector) Inject(req Request) Result {
	decision, message := i.decide(req.Pod, req.Namespace)
	if decision.Verdict == Skip {
		result := Result{Decision: decision, Message: message}
		if decision.Reason == ReasonLabelValue {
			result.Warnings = i.labelWarnings(req.Pod)
		}
		return result
	}
	v := newView(req.Pod)
	if v.ours && (v.status.Version != Version || v.status.Config != i.hash) {
		message := fmt.Sprintf("the sidecar is version %s with configuration %s, made by another injector than this one (%s, %s)",
			shorten(v.status.Version), shorten(v.status.Config), Version, i.hash)
		return Result{Decision{Skip, ReasonAlreadyInjected}, message, nil, nil, []Warning{{ReasonOtherVersion, message}}, nil, &v.status}
	}
	return i.inject(&req, v)
}

// inject resolves, builds and edits for a pod that is to have a sidecar.
func (i *Injector) inject(req *Request, v *view) Result {
	warnings := i.annotationWarnings(req.Pod)
	s, notes, refusals := i.resolve(v, req)
	warnings = append(warnings, notes...)
	refusals = append(refusals, i.conflicts(v)...)
	probes, probePorts, tooMany := i.directProbes(v, s)
	if tooMany != nil {
		refusals = append(refusals, *tooMany)
	}
	if len(refusals) > 0 {
		return refuse(refusals, warnings)
	}
	sidecar := i.sidecar(v, s, req, probePorts)
	warnings = append(warnings, i.podWarnings(v, req, sidecar)...)

	const usualEdits = 16
	e := edits{patch: make([]jsonpatch.Operation, 0, usualEdits)}
	for n := range probes {
		probes[n].apply(&e)
	}
	v.raisePodResources(sidecar, &e)
	warnings = append(warnings, i.stopEdits(v, sidecar, &e)...)
	p := i.build(sidecar)
	e.place(v, i, sidecar, p)
	status := i.annotate(v, sidecar, p, &e)
	if _, stale := req.Pod.Metadata.Annotations[StatusAnnotation]; stale && !v.ours {
		warnings = append(warnings, Warning{ReasonStatusForged, "the pod carried the annotation " + StatusAnnotation + " without the sidecar; it was replaced"})
	}
	rank(warnings)
	result := Result{Patch: e.patch, Warnings: warnings, Sidecar: sidecar, Status: status}
	switch {
	case !v.ours:
		result.Decision, result.Message = Decision{Inject, ReasonInjected}, "the pod gets a "+string(sidecar.Mode)+" sidecar"
	case len(e.patch) == 0:
		result.Decision, result.Message = Decision{Skip, ReasonAlreadyInjected}, "the pod has its sidecar already"
	default:
		result.Decision, result.Message = Decision{Inject, ReasonConverged}, "the pod was changed after its sidecar was added; the sidecar was brought up to date"
	}
	return result
}

func refuse(refusals []refusal, warnings []Warning) Result {
	rank(warnings)
	result := Result{Decision: Decision{Refuse, refusals[0].reason}, Warnings: warnings}
	messages := make([]string, len(refusals))
	for n, r := range refusals {
		result.Errors = append(result.Errors, r.err)
		messages[n] = r.err.Error()
	}
	result.Message = strings.Join(messages, "; ")
	return result
}
