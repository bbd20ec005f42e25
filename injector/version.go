package injector

import (
	"fmt"
	"strconv"
	"strings"
)

// Minor versions of Kubernetes 1 in which a feature is on by default.
const (
	nativeSidecarMinor = 29
	sleepActionMinor   = 30
)

// clusterVersion is a minor version of Kubernetes 1; 0 where it is not known, in
// which case everything is taken to be there.
type clusterVersion int

func (v clusterVersion) atLeast(minor int) bool { return v == 0 || int(v) >= minor }

// parseClusterVersion reads "1.37", "v1.37.2" and what clouds make of it, as
// "v1.37.2-gke.100" and "1.37+".
func parseClusterVersion(text string) (clusterVersion, error) {
	if text == "" {
		return 0, nil
	}
	major, rest, _ := strings.Cut(strings.TrimPrefix(text, "v"), ".")
	digits := rest
	if end := strings.IndexFunc(rest, func(r rune) bool { return r < '0' || r > '9' }); end >= 0 {
		digits = rest[:end]
	}
	minor, err := strconv.Atoi(digits)
	if major != "1" || err != nil || minor == 0 {
		return 0, fmt.Errorf("parsing kubernetesVersion %q: must be as 1.37", text)
	}
	return clusterVersion(minor), nil
}
