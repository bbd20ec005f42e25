package v1alpha1

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pillion-mesh/pillion/nearest"
)

// Validate says what is wrong with a configuration that has its defaults. Each
// error has the path, the value and what is accepted.
func Validate(config *InjectorConfig) field.ErrorList {
	errs := validateOptIn(&config.OptIn, field.NewPath("optIn"))
	for n, glob := range config.ExcludedNamespaces {
		errs = append(errs, validateGlob(glob, field.NewPath("excludedNamespaces").Index(n))...)
	}
	if config.Revision != "" {
		for _, problem := range validation.IsDNS1123Label(config.Revision) {
			errs = append(errs, field.Invalid(field.NewPath("revision"), config.Revision, problem))
		}
	}
	if !validVersion(config.KubernetesVersion) {
		errs = append(errs, field.Invalid(field.NewPath("kubernetesVersion"), config.KubernetesVersion, "must be a version of Kubernetes as 1.37"))
	}
	errs = append(errs, validateImages(&config.Images, field.NewPath("images"))...)
	errs = append(errs, validateID(config.Identity.UID, field.NewPath("identity", "uid"))...)
	errs = append(errs, validateID(config.Identity.GID, field.NewPath("identity", "gid"))...)
	errs = append(errs, validateOwnPorts(&config.Ports, field.NewPath("ports"))...)
	errs = append(errs, validateSettings(&config.Settings, nil)...)
	errs = append(errs, validateReserved(config)...)
	errs = append(errs, validateAnnotations(&config.Annotations, field.NewPath("annotations"))...)
	return append(errs, validateNamespaces(config.Namespaces, field.NewPath("namespaces"))...)
}

func validateOptIn(optIn *OptIn, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, problem := range validation.IsQualifiedName(optIn.Label) {
		errs = append(errs, field.Invalid(path.Child("label"), optIn.Label, problem))
	}
	if optIn.Value == "" {
		errs = append(errs, field.Required(path.Child("value"), `as "true"`))
	}
	for _, problem := range validation.IsValidLabelValue(optIn.Value) {
		errs = append(errs, field.Invalid(path.Child("value"), optIn.Value, problem))
	}
	return errs
}

func validateGlob(glob string, path *field.Path) field.ErrorList {
	if validGlob(glob) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, glob, "must be a namespace's name or a glob: 1 to 63 of a-z, 0-9, -, * and ?")}
}

func validVersion(version string) bool {
	// Clouds write "v1.37.2-gke.100" and "1.37+".
	return version == "" || versionPattern.MatchString(version)
}

var versionPattern = regexp.MustCompile(VersionPattern)

// VersionPattern is what kubernetesVersion has to look like.
const VersionPattern = `^v?1\.[1-9][0-9]{0,2}([.+-][0-9A-Za-z.+-]{0,60})?$`

func validateImages(images *Images, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for _, image := range [...]struct{ name, value string }{{"init", images.Init}, {"envoy", images.Envoy}} {
		switch {
		case image.value == "":
			errs = append(errs, field.Required(path.Child(image.name), "an image as repository/name:tag"))
		case strings.ContainsFunc(image.value, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) }):
			errs = append(errs, field.Invalid(path.Child(image.name), image.value, "must be an image as repository/name:tag, without spaces"))
		}
	}
	return append(errs, validateWord("images.pullPolicy", path.Child("pullPolicy"), &images.PullPolicy)...)
}

// maxID is the largest user and group that Kubernetes takes.
const maxID = 1<<31 - 1

func validateID(id int64, path *field.Path) field.ErrorList {
	if id >= 1 && id <= maxID {
		return nil
	}
	return field.ErrorList{field.Invalid(path, id, fmt.Sprintf("must be from 1 to %d: root's traffic would never be redirected", maxID))}
}

func validateOwnPorts(ports *Ports, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	users := map[int32]string{}
	for _, port := range [...]struct {
		name  string
		value int32
	}{{"inbound", ports.Inbound}, {"outbound", ports.Outbound}, {"status", ports.Status}, {"firstProbe", ports.FirstProbe}} {
		at := path.Child(port.name)
		if port.value < FirstOwnPort || port.value > LastOwnPort {
			errs = append(errs, field.Invalid(at, port.value, fmt.Sprintf("must be from %d to %d, which the redirect leaves alone", FirstOwnPort, LastOwnPort)))
		}
		if user, used := users[port.value]; used {
			errs = append(errs, field.Invalid(at, port.value, "is the port of "+user+" already"))
		}
		users[port.value] = port.name
		if port.name != "firstProbe" && port.value > ports.FirstProbe && port.value <= LastOwnPort {
			errs = append(errs, field.Invalid(at, port.value, fmt.Sprintf("must be below firstProbe (%d): the ports from there to %d stand for the app's in probes", ports.FirstProbe, LastOwnPort)))
		}
	}
	return errs
}

// validateWord checks a value against the closed set for the field at name.
func validateWord[T ~string](name string, path *field.Path, value *T) field.ErrorList {
	accepted := Accepted(name)
	if value == nil || slices.Contains(accepted, string(*value)) {
		return nil
	}
	err := field.NotSupported(path, string(*value), accepted)
	near, ok := nearest.Name(string(*value), accepted)
	if meant := meantWord(name, string(*value)); meant != "" {
		near, ok = meant, true
	}
	if ok {
		err.Detail += fmt.Sprintf("; did you mean %q?", near)
	}
	return field.ErrorList{err}
}

// AllAnnotations in annotations.allowed stands for all names.
const AllAnnotations = "*"

// AnnotationNamePattern is what an annotation's name has to look like. Which names
// there are, the injector knows: see injector.Annotations.
const AnnotationNamePattern = `^[a-z][a-z0-9-]{0,61}[a-z0-9]$`

var annotationName = regexp.MustCompile(AnnotationNamePattern)

func validateAnnotations(policy *AnnotationPolicy, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for n, allowed := range policy.Allowed {
		at := path.Child("allowed").Index(n)
		if allowed != AllAnnotations && !annotationName.MatchString(allowed) {
			errs = append(errs, field.Invalid(at, allowed, "must be an annotation's name without "+Group+"/, as log-level, or *"))
		}
		if slices.Contains(policy.Allowed[:n], allowed) {
			errs = append(errs, field.Duplicate(at, allowed))
		}
	}
	bounds, at := &policy.Bounds, path.Child("bounds")
	errs = append(errs, validateQuantityBounds(bounds.CPU, at.Child("cpu"))...)
	errs = append(errs, validateQuantityBounds(bounds.Memory, at.Child("memory"))...)
	errs = append(errs, validateDurationBounds(bounds.PreDrainDelay, at.Child("preDrainDelay"))...)
	errs = append(errs, validateDurationBounds(bounds.DrainTime, at.Child("drainTime"))...)
	errs = append(errs, validateDurationBounds(bounds.StartTimeout, at.Child("startTimeout"))...)
	errs = append(errs, validateDurationBounds(bounds.ConnectionAge, at.Child("connectionAge"))...)
	if bounds.MaxConcurrency < 1 {
		errs = append(errs, field.Invalid(at.Child("maxConcurrency"), bounds.MaxConcurrency, "must be 1 or more"))
	}
	return errs
}

func validateQuantityBounds(bounds QuantityBounds, path *field.Path) field.ErrorList {
	errs := append(validateQuantity(bounds.Min, path.Child("min")), validateQuantity(bounds.Max, path.Child("max"))...)
	if len(errs) == 0 && bounds.Min != nil && bounds.Max != nil && bounds.Min.Cmp(*bounds.Max) > 0 {
		errs = append(errs, field.Invalid(path.Child("min"), bounds.Min.String(), "must be at most max, "+bounds.Max.String()))
	}
	return errs
}

func validateDurationBounds(bounds DurationBounds, path *field.Path) field.ErrorList {
	errs := append(validateDuration(bounds.Min, path.Child("min")), validateDuration(bounds.Max, path.Child("max"))...)
	if len(errs) == 0 && bounds.Min != nil && bounds.Max != nil && bounds.Min.Duration > bounds.Max.Duration {
		errs = append(errs, field.Invalid(path.Child("min"), bounds.Min.Duration.String(), "must be at most max, "+bounds.Max.Duration.String()))
	}
	return errs
}

func validateQuantity(q *resource.Quantity, path *field.Path) field.ErrorList {
	if q == nil || q.Sign() > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, q.String(), "must be above 0")}
}

func validateNamespaces(entries []NamespaceSettings, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for n := range entries {
		entry, at := &entries[n], path.Index(n)
		if entry.Match == "" {
			errs = append(errs, field.Required(at.Child("match"), "a namespace's name or a glob, as team-*"))
		} else {
			errs = append(errs, validateGlob(entry.Match, at.Child("match"))...)
		}
		if seen[entry.Match] && entry.Match != "" {
			errs = append(errs, field.Duplicate(at.Child("match"), entry.Match))
		}
		seen[entry.Match] = true
		errs = append(errs, validateSettings(&entry.Settings, at)...)
	}
	return errs
}

func validateDuration(d *metav1.Duration, path *field.Path) field.ErrorList {
	if d == nil {
		return nil
	}
	if d.Duration < 0 || d.Duration > MaxDuration || d.Duration%wholeUnit != 0 {
		return field.ErrorList{field.Invalid(path, d.Duration.String(), "must be in whole seconds, from 0s to "+strings.TrimSuffix(MaxDuration.String(), "0m0s"))}
	}
	return nil
}
