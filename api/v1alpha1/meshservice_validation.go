package v1alpha1

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const (
	// MaxInboundPorts of a MeshService.
	MaxInboundPorts = 64
	// MaxDestinations of a MeshService.
	MaxDestinations = 1024
)

// ValidateMeshService says what is wrong with a document that has its defaults.
// Each error has the path, the value and what is accepted.
func ValidateMeshService(mesh *MeshService) field.ErrorList {
	spec := field.NewPath("spec")
	return slices.Concat(
		validateMeshName(mesh.Name, field.NewPath("metadata", "name")),
		validateNamespace(mesh.Namespace, field.NewPath("metadata", "namespace")),
		validateInbound(mesh.Spec.Inbound, spec.Child("inbound")),
		validateEgress(mesh, spec.Child("egress")),
		validateWord("spec.undeclaredEgress", spec.Child("undeclaredEgress"), &mesh.Spec.UndeclaredEgress),
		validateStatistics(mesh.Spec.Statistics, spec.Child("statistics")),
	)
}

// validateMeshName: pods belong to the document by this name, and a ConfigMap has it
// in its own.
func validateMeshName(name string, path *field.Path) field.ErrorList {
	switch {
	case name == "":
		return field.ErrorList{field.Required(path, "the name of the service that the document is for")}
	case len(name) > LongestMeshService:
		return field.ErrorList{field.TooLong(path, name, LongestMeshService)}
	case MeshConfigMap(name) == "":
		return field.ErrorList{field.Invalid(path, name, "must be the name of a service: a-z, 0-9, - and dots, with a letter or digit at both ends")}
	}
	return nil
}

// validateNamespace: a document that is in no cluster yet may have none.
func validateNamespace(namespace string, path *field.Path) field.ErrorList {
	if namespace == "" || len(validation.IsDNS1123Label(namespace)) == 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, namespace, "must be the name of a namespace: 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends")}
}

func validateInbound(ports []InboundPort, path *field.Path) field.ErrorList {
	errs := validateLength(len(ports), MaxInboundPorts, path)
	if errs != nil {
		return errs
	}
	seen := map[int32]*field.Path{}
	for n := range ports {
		port, at := &ports[n], path.Index(n)
		errs = append(errs, validateMeshPort(port.Port, at.Child("port"))...)
		if first, used := seen[port.Port]; used {
			errs = append(errs, field.Invalid(at.Child("port"), port.Port, fmt.Sprintf("is the port of %s, too: put both into one entry", first)))
		} else if port.Port != 0 {
			seen[port.Port] = at
		}
		errs = append(errs, validateWord("spec.inbound[].protocol", at.Child("protocol"), &port.Protocol)...)
		if port.Protocol == InboundTCP {
			errs = append(errs, forbidden(port.httpOnly(), at, "protocol TCP, of which only bytes are seen: here maxConnections is accepted")...)
		}
		errs = append(errs, validateInboundBounds(port, at)...)
	}
	return errs
}

// given is whether an optional field is there.
type given struct {
	name string
	is   bool
}

// httpOnly are the fields that are about requests.
func (p *InboundPort) httpOnly() []given {
	return []given{
		{"timeout", p.Timeout != nil},
		{"maxConcurrentRequests", p.MaxConcurrentRequests != nil},
		{"maxConcurrentStreams", p.MaxConcurrentStreams != nil},
		{"maxConnectionAge", p.MaxConnectionAge != nil},
		{"adaptiveConcurrency", p.AdaptiveConcurrency != nil},
		{"rateLimit", p.RateLimit != nil},
	}
}

// forbidden are errors for the fields that are there.
func forbidden(fields []given, path *field.Path, with string) field.ErrorList {
	var errs field.ErrorList
	for _, f := range fields {
		if f.is {
			errs = append(errs, field.Forbidden(path.Child(f.name), "does not go with "+with))
		}
	}
	return errs
}

func validateInboundBounds(port *InboundPort, path *field.Path) field.ErrorList {
	errs := slices.Concat(
		validateTimeout(port.Timeout, path.Child("timeout")),
		validateLimit(port.MaxConcurrentRequests, path.Child("maxConcurrentRequests")),
		validateLimit(port.MaxConnections, path.Child("maxConnections")),
		validateLimit(port.MaxConcurrentStreams, path.Child("maxConcurrentStreams")),
		validateAge(port.MaxConnectionAge, path.Child("maxConnectionAge")),
	)
	if adaptive, at := port.AdaptiveConcurrency, path.Child("adaptiveConcurrency"); adaptive != nil {
		errs = slices.Concat(errs,
			validateLimit(adaptive.MinConcurrency, at.Child("minConcurrency")),
			validateLimit(adaptive.MaxConcurrency, at.Child("maxConcurrency")),
			validatePercent(adaptive.LatencyHeadroomPercent, at.Child("latencyHeadroomPercent")),
			validatePeriod(adaptive.MeasureEvery, at.Child("measureEvery")),
		)
		if least, most := adaptive.MinConcurrency, adaptive.MaxConcurrency; least != nil && most != nil && *least > *most {
			errs = append(errs, field.Invalid(at.Child("minConcurrency"), *least, fmt.Sprintf("must be at most maxConcurrency, %d", *most)))
		}
	}
	if rate, at := port.RateLimit, path.Child("rateLimit"); rate != nil {
		errs = slices.Concat(errs,
			required(validateLimit(&rate.Requests, at.Child("requests")), rate.Requests == 0, at.Child("requests"), "how many requests one pod takes in a period"),
			validateBucket(rate.Per, at.Child("per")),
			validateLimit(rate.Burst, at.Child("burst")),
		)
	}
	return errs
}

// required replaces what was found in a field that is not there.
func required(errs field.ErrorList, absent bool, path *field.Path, what string) field.ErrorList {
	if absent {
		return field.ErrorList{field.Required(path, what)}
	}
	return errs
}

// validateMeshPort checks a port that an app listens on or calls.
func validateMeshPort(port int32, path *field.Path) field.ErrorList {
	switch {
	case port == 0:
		return field.ErrorList{field.Required(path, "a port from 1 to 65535")}
	case port < 1 || port > 65535:
		return field.ErrorList{field.Invalid(path, port, "must be a port from 1 to 65535")}
	case port >= FirstOwnPort && port <= LastOwnPort:
		return field.ErrorList{field.Invalid(path, port, fmt.Sprintf("must not be from %d to %d: those are the sidecar's own", FirstOwnPort, LastOwnPort))}
	}
	return nil
}

func validateStatistics(statistics *Statistics, path *field.Path) field.ErrorList {
	if statistics == nil {
		return nil
	}
	return append(
		validateWord("spec.statistics.destinations", path.Child("destinations"), &statistics.Destinations),
		validateSeries(statistics.MaxSeries, path.Child("maxSeries"))...)
}

// validateLength bounds a list. One that is too long is not looked into: it may come
// from somebody who wants to keep the webhook busy.
func validateLength(length, most int, path *field.Path) field.ErrorList {
	if length <= most {
		return nil
	}
	return field.ErrorList{field.TooMany(path, length, most)}
}

// quoted writes names as they are listed in a sentence.
func quoted(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	return `"` + strings.Join(names, `", "`) + `"`
}
