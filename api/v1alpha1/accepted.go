package v1alpha1

import (
	"slices"
	"strings"

	"github.com/pillion-mesh/pillion/lifecycle"
)

// FirstOwnPort and LastOwnPort bound the ports that belong to the sidecar, which
// the redirect leaves alone on the way in.
const (
	FirstOwnPort = 15000
	LastOwnPort  = 15099
)

// LogLevels are the values of envoy.logLevel, from the most to the least talkative.
func LogLevels() []string { return lifecycle.LogLevels() }

// Accepted is the closed set of values of the field at a path in InjectorConfig,
// as "lifecycle.probes", or in MeshService, as "spec.egress[].protocol"; nil where a
// field takes other values. What is in namespaces[] has the path it has without it.
func Accepted(path string) []string {
	switch path {
	case "images.pullPolicy":
		return []string{"Always", "IfNotPresent", "Never"}
	case "sidecar.mode":
		return words(ModeAuto, ModeNative, ModeClassic)
	case "sidecar.podResources":
		return words(PodResourcesRaise, PodResourcesKeep)
	case "redirect.wellKnownPorts":
		return words(WellKnownReserved, WellKnownIgnored)
	case "redirect.ipFamilies[]":
		return words(IPv4, IPv6)
	case "lifecycle.gracePeriod":
		return words(GracePeriodRaise, GracePeriodWarn)
	case "lifecycle.appPreStop":
		return words(AppPreStopSleep, AppPreStopNone)
	case "lifecycle.probes":
		return words(ProbesDirect, ProbesThroughEnvoy)
	case "envoy.logLevel":
		return LogLevels()
	case "envoy.accessLog":
		return words(AccessLogOff, AccessLogJSON)
	case "envoy.meshService":
		return words(MeshServiceConfigMap, MeshServiceOff)
	}
	return acceptedOfMesh(path)
}

func acceptedOfMesh(path string) []string {
	switch path {
	case "spec.inbound[].protocol":
		return words(InboundHTTP, InboundTCP)
	case "spec.undeclaredEgress":
		return words(UndeclaredPassthrough, UndeclaredRefused)
	case "spec.egress[].protocol":
		return words(ProtocolHTTP, ProtocolHTTP1, ProtocolHTTP2, ProtocolGRPC, ProtocolTLS, ProtocolTCP)
	case "spec.egress[].retries.when[]":
		return words(RetryConnectFailure, RetryRefusedStream, RetryReset, RetryUnavailable)
	case "spec.egress[].routes[].fallback.when":
		return words(FallbackAbsent, FallbackFails)
	case "spec.statistics.destinations":
		return words(StatisticsStandard, StatisticsDetailed, StatisticsNone)
	}
	return nil
}

func words[T ~string](values ...T) []string {
	texts := make([]string, len(values))
	for i, value := range values {
		texts[i] = string(value)
	}
	return texts
}

// MatchNamespace says whether a namespace's name matches a name or a glob, in
// which `*` stands for any number of characters, none too, and `?` for one.
func MatchNamespace(pattern, name string) bool {
	// Where the last star stands, and up to where the name has been given to it: on a
	// mismatch the star takes one character more. This is linear but for that, where
	// trying every split of the name would be exponential in the stars.
	p, star, taken := 0, -1, 0
	for n := 0; n < len(name); {
		switch {
		case p < len(pattern) && pattern[p] == '*':
			star, taken = p, n
			p++
		case p < len(pattern) && (pattern[p] == '?' || pattern[p] == name[n]):
			p++
			n++
		case star >= 0:
			taken++
			p, n = star+1, taken
		default:
			return false
		}
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// validGlob says whether a pattern can match a namespace's name at all.
func validGlob(pattern string) bool {
	return pattern != "" && len(pattern) <= 63 && !slices.ContainsFunc([]byte(pattern), func(c byte) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '*' && c != '?'
	})
}
