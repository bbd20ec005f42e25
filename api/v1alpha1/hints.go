package v1alpha1

import (
	"fmt"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
)

// hint is what a value that does not fit was probably meant to be, as the end of a
// sentence; empty where nobody can tell.
func hint(target reflect.Value, path string, value any) string {
	switch {
	case target.Type() == reflect.TypeFor[metav1.Duration]():
		return durationHint(path, value)
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

func durationHint(path string, value any) string {
	text, quoted := value.(string)
	if !quoted {
		text = show(value)
	}
	text = strings.ToLower(strings.ReplaceAll(text, " ", ""))
	var meant []string
	switch {
	case text == "0":
		meant = []string{"0s"}
	case digitsAlone.MatchString(text):
		meant = []string{text + "s", text + "ms"}
	case numberAlone.MatchString(text):
		meant = []string{text + "s"}
	default:
		meant = []string{durationPart.ReplaceAllStringFunc(text, func(part string) string {
			parts := durationPart.FindStringSubmatch(part)
			return parts[1] + unitOf(parts[2])
		})}
	}
	meant = slices.DeleteFunc(meant, func(text string) bool { return text == value || !takesDuration(path, text) })
	if len(meant) == 0 {
		return "; its units are ms, s, m and h"
	}
	return fmt.Sprintf("; did you mean %s?", strings.Join(meant, " or "))
}

// takesDuration says whether the field at a path takes a duration: what is refused the
// next time is not suggested.
func takesDuration(path, text string) bool {
	d, err := time.ParseDuration(text)
	if err != nil || !durationText.MatchString(text) {
		return false
	}
	validate := validateDuration
	switch path[strings.LastIndex(path, ".")+1:] {
	case "timeout":
		validate = validateTimeout
	case "maxConnectionAge":
		validate = validateAge
	case "clientTimeout", "idleTimeout", "connectTimeout", "perTryTimeout", "after":
		validate = validateMoment
	case "measureEvery", "ejectionTime", "dnsRefresh":
		validate = validatePeriod
	case "per":
		validate = validateBucket
	case "startTimeout":
		if d == 0 {
			return false
		}
	}
	return len(validate(&metav1.Duration{Duration: d}, nil)) == 0
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
			if validation.IsDNS1035Label(v) == nil {
				return fmt.Sprintf("; did you mean {name: %s}?", v)
			}
			return meantService(v)
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

// meantService is a Service that is given by its name in DNS. Two labels may as well be
// the name of something outside the cluster.
func meantService(name string) string {
	host := strings.Contains(name, ".") && validateHost(name, nil) == nil
	parts := strings.SplitN(name, ".", 3)
	valid := len(parts) > 1 && validation.IsDNS1035Label(parts[0]) == nil && validation.IsDNS1123Label(parts[1]) == nil
	switch {
	case valid && len(parts) == 2 && host:
		return fmt.Sprintf("; did you mean {name: %s, namespace: %s}, or host: %s instead of service?", parts[0], parts[1], name)
	case valid && (len(parts) == 2 || parts[2] == "svc" || parts[2] == "svc.cluster.local"):
		return fmt.Sprintf("; did you mean {name: %s, namespace: %s}?", parts[0], parts[1])
	case host:
		return "; a name with dots is given as host"
	}
	return ""
}
