package injector

import (
	"fmt"
	"strings"
)

// MakeAnew is the command that has the pods of a workload made anew, so that they are
// admitted again. Kind is as Kubernetes spells it, in any case; it is empty for a pod that no
// workload made. Pod is one of the pods.
func MakeAnew(namespace, kind, name, pod string) string {
	switch kind = strings.ToLower(kind); kind {
	case "":
		return "create it again"
	case "deployment", "statefulset", "daemonset":
		return fmt.Sprintf("kubectl -n %s rollout restart %s/%s", namespace, kind, name)
	default:
		return fmt.Sprintf("kubectl -n %s delete pod %s", namespace, pod)
	}
}
