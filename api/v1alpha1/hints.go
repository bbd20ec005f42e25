package v1alpha1

import (
	"fmt"
	"reflect"
	"regexp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// hint is what a value that does not fit was probably meant to be, as the end of a
// sentence; empty where nobody can tell.
func hint(target reflect.Value, value any) string {
	switch {
	case target.Type() == reflect.TypeFor[metav1.Duration]():
		return durationHint(value)
	case target.Kind() == reflect.String:
		// Who wrote y does not see why there is a true.
		switch value {
		case true:
			return ", which YAML makes of y, yes and on, too"
		case false:
			return ", which YAML makes of n, no and off, too"
		}
	case target.CanInt():
		if text, quoted := value.(string); quoted && digitsAlone.MatchString(text) {
			return "; leave the quotes out"
		}
	}
	return ""
}

var (
	digitsAlone  = regexp.MustCompile(`^[0-9]{1,10}$`)
	numberAlone  = regexp.MustCompile(`^[0-9]+([.][0-9]+)?$`)
	durationPart = regexp.MustCompile(`([0-9]+(?:[.][0-9]+)?)([a-z]+)`)
)

func durationHint(value any) string {
	text, quoted := value.(string)
	if !quoted {
		text = show(value)
	}
	text = strings.ToLower(strings.ReplaceAll(text, " ", ""))
	switch {
	case text == "0":
		return "; did you mean 0s?"
	case len(text) > 4 && digitsAlone.MatchString(text):
		return fmt.Sprintf("; did you mean %sms?", text) // more than an hour of seconds
	case digitsAlone.MatchString(text):
		return fmt.Sprintf("; did you mean %ss or %sms?", text, text)
	case numberAlone.MatchString(text):
		return fmt.Sprintf("; did you mean %ss?", text)
	}
	meant := durationPart.ReplaceAllStringFunc(text, func(part string) string {
		parts := durationPart.FindStringSubmatch(part)
		return parts[1] + unitOf(parts[2])
	})
	if durationText.MatchString(meant) && meant != value {
		return fmt.Sprintf("; did you mean %s?", meant)
	}
	return "; its units are ms, s, m and h"
}

// unitOf is the unit that people write in other ways.
func unitOf(word string) string {
	switch word {
	case "msec", "msecs", "milli", "millis", "millisecond", "milliseconds":
		return "ms"
	case "sec", "secs", "second", "seconds":
		return "s"
	case "min", "mins", "minute", "minutes":
		return "m"
	case "hr", "hrs", "hour", "hours":
		return "h"
	}
	return word
}

// objectHint is how a value is written that stands where its fields belong.
func objectHint(target reflect.Value, value any) string {
	of := target.Type()
	switch v := value.(type) {
	case bool:
		switch of {
		case reflect.TypeFor[AdaptiveConcurrency](), reflect.TypeFor[Retries](), reflect.TypeFor[OutlierDetection](), reflect.TypeFor[Fallback]():
			if v {
				return "; did you mean {}?"
			}
			return "; leave it out to have none"
		}
	case string:
		if of == reflect.TypeFor[ServiceReference]() {
			if strings.Contains(v, ".") {
				return meantService(v)
			}
			return fmt.Sprintf("; did you mean {name: %s}?", v)
		}
	case int64, float64:
		switch of {
		case reflect.TypeFor[Retries]():
			return fmt.Sprintf("; did you mean {attempts: %s}?", show(v))
		case reflect.TypeFor[RateLimit]():
			return fmt.Sprintf("; did you mean {requests: %s}?", show(v))
		}
	}
	return ""
}

// listHint is how one value is written where a list belongs.
func listHint(value any) string {
	switch value.(type) {
	case map[string]any:
		return "; each entry begins with -"
	case []any, nil:
		return ""
	}
	return fmt.Sprintf("; did you mean [%s]?", show(value))
}

// meantWord is what a word of other meshes, or of protocols, is called in a closed set.
// It comes before names that look alike: HTTPS is no HTTP.
func meantWord(path, word string) string {
	switch path {
	case "spec.egress[].protocol":
		switch strings.ToLower(word) {
		case "https", "ssl":
			return string(ProtocolTLS)
		case "h2", "h2c", "http/2":
			return string(ProtocolHTTP2)
		case "http/1", "http/1.1":
			return string(ProtocolHTTP1)
		}
	case "spec.inbound[].protocol":
		switch strings.ToLower(word) {
		case "grpc", "http1", "http2", "h2", "h2c", "http/1", "http/1.1", "http/2":
			return string(InboundHTTP)
		case "https", "tls", "ssl":
			return string(InboundTCP)
		}
	case "spec.undeclaredEgress":
		switch strings.ToLower(word) {
		case "allow", "allow_any", "allowed":
			return string(UndeclaredPassthrough)
		case "block", "blocked", "deny", "denied", "registry_only":
			return string(UndeclaredRefused)
		}
	}
	return ""
}

// meantField is what a field of other meshes is called here, or an abbreviation.
func meantField(name string) string {
	switch strings.ToLower(name) {
	case "retry", "retrypolicy":
		return "retries"
	case "numretries", "maxretries":
		return "attempts"
	case "retryon":
		return "when"
	case "circuitbreaker", "circuitbreakers":
		return "breakers"
	case "svc":
		return "service"
	case "hostname", "address", "fqdn":
		return "host"
	case "destination", "target":
		return "to"
	case "timeoutms", "timeoutseconds", "requesttimeout":
		return "timeout"
	case "ports", "containerport", "targetport":
		return "port"
	}
	return ""
}

// meantMethod is a gRPC method or its name as people have it from elsewhere: from a path,
// from a log, from the code.
func meantMethod(name string, form *regexp.Regexp) string {
	trimmed := strings.Trim(name, "/")
	candidates := []string{trimmed, trimmed[strings.LastIndex(trimmed, "/")+1:]}
	if dot := strings.LastIndex(name, "."); dot > 0 && !strings.Contains(name, "/") {
		candidates = append(candidates, name[:dot]+"/"+name[dot+1:])
	}
	for _, meant := range candidates {
		if form.MatchString(meant) {
			return fmt.Sprintf("; did you mean %q?", meant)
		}
	}
	return ""
}

// meantGRPC is a service that is given with slashes.
func meantGRPC(service string) string {
	name, method, _ := strings.Cut(strings.Trim(service, "/"), "/")
	switch {
	case !grpcService.MatchString(name):
		return ""
	case grpcMethod.MatchString(method):
		return fmt.Sprintf("; did you mean {service: %s, methods: [%s]}?", name, method)
	}
	return fmt.Sprintf("; did you mean %q?", name)
}

// meantService is a Service that is given by its name in DNS.
func meantService(name string) string {
	parts := strings.SplitN(name, ".", 3)
	if len(parts) < 2 || len(parts) == 3 && parts[2] != "svc" && parts[2] != "svc.cluster.local" {
		return "; a name with dots is given as host"
	}
	return fmt.Sprintf("; did you mean {name: %s, namespace: %s}?", parts[0], parts[1])
}
