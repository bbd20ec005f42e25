package v1alpha1

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pillion-mesh/pillion/iptables"
)

const (
	// MaxDuration of every setting: a pod that takes longer to start or to stop is
	// taken for one that hangs.
	MaxDuration = time.Hour
	wholeUnit   = time.Second
)

// validateSettings checks one level. A nil path is the document's own top level.
func validateSettings(settings *Settings, path *field.Path) field.ErrorList {
	sidecar, redirect := path.Child("sidecar"), path.Child("redirect")
	lifecycle, envoy := path.Child("lifecycle"), path.Child("envoy")
	l := &settings.Lifecycle
	return slices.Concat(
		validateWord("sidecar.mode", sidecar.Child("mode"), settings.Sidecar.Mode),
		validateResources(&settings.Sidecar.Resources, sidecar.Child("resources")),
		validateWord("sidecar.podResources", sidecar.Child("podResources"), settings.Sidecar.PodResources),
		validateRedirect(&settings.Redirect, redirect),
		validateDuration(l.PreDrainDelay, lifecycle.Child("preDrainDelay")),
		validateDuration(l.DrainTime, lifecycle.Child("drainTime")),
		validateDuration(l.StartTimeout, lifecycle.Child("startTimeout")),
		validateStartTimeout(l, lifecycle.Child("startTimeout")),
		validateWord("lifecycle.gracePeriod", lifecycle.Child("gracePeriod"), l.GracePeriod),
		validateWord("lifecycle.appPreStop", lifecycle.Child("appPreStop"), l.AppPreStop),
		validateWord("lifecycle.probes", lifecycle.Child("probes"), l.Probes),
		validateWord("envoy.logLevel", envoy.Child("logLevel"), settings.Envoy.LogLevel),
		validateConcurrency(settings.Envoy.Concurrency, envoy.Child("concurrency")),
		validateExtraArgs(settings.Envoy.ExtraArgs, envoy.Child("extraArgs")),
		validateWord("envoy.accessLog", envoy.Child("accessLog"), settings.Envoy.AccessLog),
		validateWord("envoy.meshService", envoy.Child("meshService"), settings.Envoy.MeshService),
		validateDuration(settings.Envoy.MaxUpstreamAge, envoy.Child("maxUpstreamAge")),
		validateDuration(settings.Envoy.UpstreamIdleTimeout, envoy.Child("upstreamIdleTimeout")),
		validateDuration(settings.Envoy.MaxDownstreamAge, envoy.Child("maxDownstreamAge")),
		validateAges(&settings.Envoy, envoy.Child("maxDownstreamAge")),
	)
}

// validateAges compares the two ages, where a level sets both.
func validateAges(envoy *EnvoySettings, path *field.Path) field.ErrorList {
	if envoy.MaxUpstreamAge == nil || envoy.MaxDownstreamAge == nil {
		return nil
	}
	if err := CompareAges(envoy.MaxUpstreamAge.Duration, envoy.MaxDownstreamAge.Duration); err != nil {
		return field.ErrorList{field.Invalid(path, envoy.MaxDownstreamAge.Duration.String(), err.Error())}
	}
	return nil
}

// CompareAges says what is wrong with a pair of maxUpstreamAge and maxDownstreamAge.
func CompareAges(upstream, downstream time.Duration) error {
	if downstream == 0 || upstream != 0 && downstream > upstream {
		return nil
	}
	if upstream == 0 {
		return errors.New("must be 0s (any age), since maxUpstreamAge is: else servers close connections that clients are about to use")
	}
	return fmt.Errorf("must be above maxUpstreamAge, %s, or 0s (any age): else servers close connections that clients are about to use", upstream)
}

func validateStartTimeout(l *LifecycleSettings, path *field.Path) field.ErrorList {
	if l.StartTimeout == nil || l.StartTimeout.Duration != 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, "0s", "must be 1s or more: no sidecar is ready at once")}
}

func validateResources(resources *Resources, path *field.Path) field.ErrorList {
	requests, limits := path.Child("requests"), path.Child("limits")
	errs := slices.Concat(
		validateQuantity(resources.Requests.CPU, requests.Child("cpu")),
		validateQuantity(resources.Requests.Memory, requests.Child("memory")),
		validateQuantity(resources.Limits.CPU, limits.Child("cpu")),
		validateQuantity(resources.Limits.Memory, limits.Child("memory")),
	)
	if len(errs) > 0 {
		return errs
	}
	if r, l := resources.Requests.CPU, resources.Limits.CPU; r != nil && l != nil && r.Cmp(*l) > 0 {
		errs = append(errs, field.Invalid(requests.Child("cpu"), r.String(), "must be at most limits.cpu, "+l.String()))
	}
	if r, l := resources.Requests.Memory, resources.Limits.Memory; r != nil && l != nil && r.Cmp(*l) > 0 {
		errs = append(errs, field.Invalid(requests.Child("memory"), r.String(), "must be at most limits.memory, "+l.String()))
	}
	return errs
}

func validateRedirect(redirect *RedirectSettings, path *field.Path) field.ErrorList {
	errs := validateWord("redirect.wellKnownPorts", path.Child("wellKnownPorts"), redirect.WellKnownPorts)
	errs = append(errs, validateDirection(&redirect.Inbound, path.Child("inbound"))...)
	errs = append(errs, validateDirection(&redirect.Outbound, path.Child("outbound"))...)
	for n, text := range redirect.ExcludedCIDRs {
		errs = append(errs, validateCIDR(text, path.Child("excludedCIDRs").Index(n))...)
	}
	at := path.Child("ipFamilies")
	if redirect.IPFamilies != nil && len(redirect.IPFamilies) == 0 {
		errs = append(errs, field.Required(at, "at least one of IPv4 and IPv6"))
	}
	for n := range redirect.IPFamilies {
		errs = append(errs, validateWord("redirect.ipFamilies[]", at.Index(n), &redirect.IPFamilies[n])...)
		if slices.Contains(redirect.IPFamilies[:n], redirect.IPFamilies[n]) {
			errs = append(errs, field.Duplicate(at.Index(n), string(redirect.IPFamilies[n])))
		}
	}
	return errs
}

func validateCIDR(text string, path *field.Path) field.ErrorList {
	if _, err := iptables.ParsePrefix(text); err != nil {
		return field.ErrorList{field.Invalid(path, text, err.Error())}
	}
	return nil
}

func validateDirection(direction *DirectionSettings, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	seen := map[iptables.PortRange]bool{}
	for n := range direction.ReservedPorts {
		entry, at := &direction.ReservedPorts[n], path.Child("reservedPorts").Index(n)
		ports, err := parsePorts(entry.Port)
		switch {
		case entry.Port == intstr.FromInt32(0):
			errs = append(errs, field.Required(at.Child("port"), `a port as 3306 or a range as "7000-7001"`))
		case err != nil:
			errs = append(errs, field.Invalid(at.Child("port"), entry.Port.String(), err.Error()))
		case seen[ports]:
			errs = append(errs, field.Duplicate(at.Child("port"), entry.Port.String()))
		default:
			seen[ports] = true
		}
		if strings.TrimSpace(entry.Protocol) == "" {
			errs = append(errs, field.Required(at.Child("protocol"), "what is spoken there, as MySQL: an entry that nobody can name is never taken out again"))
		}
		if _, err := time.Parse(time.DateOnly, entry.Expires); err != nil && entry.Expires != "" {
			errs = append(errs, field.Invalid(at.Child("expires"), entry.Expires, "must be a date as 2027-03-31"))
		}
	}
	return errs
}

func validateConcurrency(concurrency *int32, path *field.Path) field.ErrorList {
	if concurrency == nil || *concurrency >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, *concurrency, "must be 0 (from the container's CPU) or more")}
}

// ownArgs are Envoy's options that Pillion sets itself, and those that end Envoy,
// each with what to do instead.
func ownArgs() map[string]string {
	const own, ends = "Pillion sets it", "Envoy would end at once"
	return map[string]string{
		"-c": own, "--config-path": own, "--config-yaml": own, "--bootstrap-version": own,
		"-l": "use envoy.logLevel", "--log-level": "use envoy.logLevel",
		"--concurrency":  "use envoy.concurrency",
		"--drain-time-s": "use lifecycle.drainTime", "--drain-strategy": own, "--parent-shutdown-time-s": own,
		"--service-cluster": own, "--service-node": own, "--service-zone": own,
		"--admin-address-path": own, "--local-address-ip-version": own,
		"--base-id": own, "--use-dynamic-base-id": own, "--base-id-path": own, "--restart-epoch": own,
		"--disable-hot-restart": own, "--socket-path": own, "--socket-mode": own,
		"--mode": ends, "--version": ends, "--hot-restart-version": ends, "-h": ends, "--help": ends,
		"--": own, "--ignore_rest": own,
	}
}

func validateExtraArgs(args []string, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	own := ownArgs()
	for n, arg := range args {
		if arg == "" || strings.ContainsRune(arg, 0) {
			errs = append(errs, field.Invalid(path.Index(n), arg, "must be an argument of Envoy's"))
			continue
		}
		// Envoy's parser takes an option and its value in one argument too, with a
		// space between them.
		option, _, _ := strings.Cut(arg, " ")
		option, _, _ = strings.Cut(option, "=")
		if why, isOwn := own[option]; isOwn {
			errs = append(errs, field.Forbidden(path.Index(n), fmt.Sprintf("%s: %s", option, why)))
		}
	}
	return errs
}

// validateReserved checks what every level takes back: only what a level below
// has reserved exactly so.
func validateReserved(config *InjectorConfig) field.ErrorList {
	base := cmp.Or(config.Redirect.WellKnownPorts, new(WellKnownReserved))
	directions := [...]struct {
		name string
		of   func(*RedirectSettings) *DirectionSettings
	}{
		{"inbound", func(r *RedirectSettings) *DirectionSettings { return &r.Inbound }},
		{"outbound", func(r *RedirectSettings) *DirectionSettings { return &r.Outbound }},
	}
	var errs field.ErrorList
	for _, direction := range directions {
		own := direction.of(&config.Redirect)
		known := reservations{}
		if *base == WellKnownReserved {
			known.add(WellKnownReservedPorts())
		}
		at := field.NewPath("redirect", direction.name, "unreservedPorts")
		errs = append(errs, known.takeBack(own.UnreservedPorts, at)...)
		known.add(own.ReservedPorts)
		for n := range config.Namespaces {
			redirect := &config.Namespaces[n].Redirect
			here := known
			if policy := redirect.WellKnownPorts; policy != nil && *policy != *base {
				here = reservations{}
				here.add(own.ReservedPorts)
				if *policy == WellKnownReserved {
					here.add(WellKnownReservedPorts())
				}
			}
			at := field.NewPath("namespaces").Index(n).Child("redirect", direction.name, "unreservedPorts")
			errs = append(errs, here.clone().takeBack(direction.of(redirect).UnreservedPorts, at)...)
		}
	}
	return errs
}
