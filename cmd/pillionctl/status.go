package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
)

func (p *program) statusCommand(invocation string) *cobra.Command {
	var (
		in       cluster
		outdated bool
	)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell which running pods of a cluster have a sidecar, and which should",
		Long: "Tell of each workload in opted-in namespaces how many of its running pods have the sidecar of\n" +
			"the cluster's configuration and of this program's version, an outdated one, one that another\n" +
			"webhook damaged, or none though they opted in. It reads Pods, Namespaces and the webhook's ConfigMap with your own rights.\n\n" + exitHelp,
		Example: examples(invocation,
			"status", "in all namespaces",
			"status -n shop --outdated", "only what a restart would change"),
		Args: cobra.NoArgs,
	}
	in.addFlags(cmd)
	cmd.Flags().Lookup("namespace").Usage = "`namespace` (default: all that opted in)"
	cmd.Flags().BoolVar(&outdated, "outdated", false, "only workloads with pods that are outdated, damaged or missed")
	output := addOutput(cmd, "`format`: table or json", "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := output.check(); err != nil {
			return err
		}
		return p.status(cmd.Context(), &in, outdated, output.format)
	}
	return cmd
}

// workloadLine is what status says of a workload; its JSON is the output of -o json.
type workloadLine struct {
	Namespace   string `json:"namespace"`
	Workload    string `json:"workload"`
	Injected    int    `json:"injected"`
	Outdated    int    `json:"outdated"`
	Damaged     int    `json:"damaged"`
	Missed      int    `json:"missed"`
	NotInjected int    `json:"notInjected"`
	// Why says the state of the pod that most needs something done.
	Why string `json:"why,omitempty"`
	// Remedy is a command; empty where nothing has to be done.
	Remedy string `json:"remedy,omitempty"`
}

func (p *program) status(ctx context.Context, in *cluster, outdated bool, format string) error {
	c, err := in.connect()
	if err != nil {
		return err
	}
	inject, label, err := c.injector(ctx)
	if err != nil {
		return err
	}
	lines, err := c.workloads(ctx, inject, label, in.namespace)
	if err != nil {
		return err
	}
	wrong := 0
	for _, line := range lines {
		wrong += line.Outdated + line.Damaged + line.Missed
	}
	if outdated {
		lines = slices.DeleteFunc(lines, func(l workloadLine) bool { return l.Remedy == "" })
	}
	if format == "json" {
		err = writeJSON(p.out, lines)
	} else {
		err = p.printStatus(lines)
	}
	if err == nil && wrong > 0 {
		err = findings{fmt.Errorf("%d pods are outdated or damaged, or have no sidecar though they opted in", wrong)}
	}
	return err
}

func (p *program) printStatus(lines []workloadLine) error {
	rows := [][]string{{"NAMESPACE", "WORKLOAD", "INJECTED", "OUTDATED", "DAMAGED", "MISSED", "NOT INJECTED", "WHY"}}
	for _, l := range lines {
		rows = append(rows, []string{
			l.Namespace, l.Workload, strconv.Itoa(l.Injected), strconv.Itoa(l.Outdated), strconv.Itoa(l.Damaged), strconv.Itoa(l.Missed), strconv.Itoa(l.NotInjected),
			strings.Trim(l.Why+"; "+l.Remedy, "; "),
		})
	}
	return writeTable(p.out, "", rows)
}

// injector is made of the configuration that the cluster's webhook has, with the
// label that opts in. A release with a revision of its own is not looked for.
func (c *connection) injector(ctx context.Context) (*injector.Injector, v1alpha1.OptIn, error) {
	var found corev1.ConfigMapList
	if err := c.List(ctx, &found, client.MatchingLabels{"app.kubernetes.io/name": "pillion", "app.kubernetes.io/component": "webhook"}); err != nil {
		return nil, v1alpha1.OptIn{}, fmt.Errorf("looking for the webhook's ConfigMap in all namespaces (it needs the right to list ConfigMaps): %w", err)
	}
	for _, candidate := range found.Items {
		config, err := v1alpha1.Decode([]byte(candidate.Data["config.yaml"]))
		if err != nil {
			return nil, v1alpha1.OptIn{}, fmt.Errorf("reading the ConfigMap %s/%s: %w", candidate.Namespace, candidate.Name, err)
		}
		if config.Revision != "" {
			continue
		}
		made, err := injector.New(config)
		if err != nil {
			return nil, v1alpha1.OptIn{}, fmt.Errorf("reading the ConfigMap %s/%s: %w", candidate.Namespace, candidate.Name, err)
		}
		return made, config.OptIn, nil
	}
	return nil, v1alpha1.OptIn{}, fmt.Errorf("no ConfigMap of a webhook was found at %s: is the chart installed? `helm list -A` tells", c.config.Host)
}

// workloads audits the pods of namespaces that opted in, or of one namespace.
func (c *connection) workloads(ctx context.Context, inject *injector.Injector, optIn v1alpha1.OptIn, only string) ([]workloadLine, error) {
	var namespaces corev1.NamespaceList
	if err := c.List(ctx, &namespaces, client.MatchingLabels{optIn.Label: optIn.Value}); err != nil {
		return nil, fmt.Errorf("listing the Namespaces with the label %s=%s: %w", optIn.Label, optIn.Value, err)
	}
	lines := []workloadLine{}
	for _, ns := range namespaces.Items {
		if only != "" && ns.Name != only {
			continue
		}
		found, err := c.audit(ctx, inject, injector.Namespace{Name: ns.Name, Labels: ns.Labels})
		if err != nil {
			return nil, err
		}
		lines = append(lines, found...)
	}
	return lines, nil
}

// audit goes through a namespace's pods page by page.
func (c *connection) audit(ctx context.Context, inject *injector.Injector, ns injector.Namespace) ([]workloadLine, error) {
	const page = 500
	byWorkload := map[string]*workloadLine{}
	for next := ""; ; {
		var pods corev1.PodList
		if err := c.List(ctx, &pods, client.InNamespace(ns.Name), client.Limit(page), client.Continue(next)); err != nil {
			return nil, fmt.Errorf("listing the Pods of namespace %s: %w", ns.Name, err)
		}
		for n := range pods.Items {
			if err := add(byWorkload, inject, ns, &pods.Items[n]); err != nil {
				return nil, err
			}
		}
		if next = pods.Continue; next == "" {
			break
		}
	}
	var lines []workloadLine
	for _, line := range byWorkload {
		lines = append(lines, *line)
	}
	slices.SortFunc(lines, func(a, b workloadLine) int { return cmp.Compare(a.Workload, b.Workload) })
	return lines, nil
}

// add counts a pod that runs or is about to.
func add(byWorkload map[string]*workloadLine, inject *injector.Injector, ns injector.Namespace, pod *corev1.Pod) error {
	if pod.DeletionTimestamp != nil || pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed {
		return nil
	}
	raw, err := json.Marshal(pod)
	if err != nil {
		return fmt.Errorf("reading pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	decoded, err := injector.DecodePod(raw)
	if err != nil {
		return fmt.Errorf("reading pod %s/%s: %w", pod.Namespace, pod.Name, err)
	}
	name, remedy := workloadOf(pod)
	line := byWorkload[name]
	if line == nil {
		line = &workloadLine{Namespace: ns.Name, Workload: name}
		byWorkload[name] = line
	}
	audit := inject.Audit(injector.Request{Pod: decoded, Namespace: ns})
	switch audit.State {
	case injector.Injected:
		line.Injected++
	case injector.NotInjected:
		line.NotInjected++
		if line.Why == "" {
			line.Why = audit.Decision.Reason.Code + ": " + audit.Message
		}
	case injector.Outdated:
		line.Outdated++
		line.Remedy = remedy
		if line.Damaged+line.Missed == 0 {
			line.Why = audit.Message
		}
	case injector.Damaged:
		line.Damaged++
		line.Why, line.Remedy = audit.Message, remedy
	case injector.Missed:
		line.Missed++
		line.Why, line.Remedy = audit.Message, remedy
	}
	return nil
}

// workloadOf names what made a pod, as kubectl takes it, and the command that has it
// made anew. A ReplicaSet's name is the Deployment's with the hash of its template.
func workloadOf(pod *corev1.Pod) (name, remedy string) {
	owner := metav1.GetControllerOf(pod)
	if owner == nil {
		return "pod/" + pod.Name, "create it again"
	}
	kind, name := owner.Kind, owner.Name
	if hash := pod.Labels["pod-template-hash"]; kind == "ReplicaSet" && hash != "" && strings.HasSuffix(name, "-"+hash) {
		kind, name = "Deployment", strings.TrimSuffix(name, "-"+hash)
	}
	full := kubectlName(kind, name)
	switch kind {
	case "Deployment", "StatefulSet", "DaemonSet":
		return full, fmt.Sprintf("kubectl -n %s rollout restart %s", pod.Namespace, full)
	default:
		return full, fmt.Sprintf("kubectl -n %s delete pod %s", pod.Namespace, pod.Name)
	}
}

// kubectlName is an object as kubectl takes it.
func kubectlName(kind, name string) string { return strings.ToLower(kind) + "/" + name }
