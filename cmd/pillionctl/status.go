package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/preflight"
)

func (p *program) statusCommand(invocation string) *cobra.Command {
	var (
		in       cluster
		outdated bool
		pods     bool
	)
	cmd := &cobra.Command{
		Use:   "status",
		Short: "Tell which running pods of a cluster have a sidecar, and how far MeshServices have come",
		Long: "Tell of each workload in opted-in namespaces how many of its running pods have the sidecar of\n" +
			"the release that their namespace is for, an outdated one, one that another webhook damaged, or\n" +
			"none though they opted in. Outdated is what differs from what the cluster's own webhook puts\n" +
			"into new pods, which a dry run tells. Then it tells of each MeshService how far it has come, and\n" +
			"with --pods what each of its pods runs: the API server asks the pods, which takes the right to\n" +
			"get pods/proxy. It reads Pods, Namespaces, MeshServices and the webhooks' ConfigMaps with your own\n" +
			"rights.\n\n" + exitHelp,
		Example: examples(invocation,
			"status", "in all namespaces",
			"status -n shop --outdated", "only what a restart would change",
			"status -n shop --pods", "and what each pod of a MeshService runs"),
		Args: cobra.NoArgs,
	}
	in.addFlags(cmd)
	cmd.Flags().Lookup("namespace").Usage = "`namespace` (default: all that opted in)"
	cmd.Flags().BoolVar(&outdated, "outdated", false, "only workloads with pods that are outdated, damaged or missed")
	cmd.Flags().BoolVar(&pods, "pods", false, "also ask the pods of MeshServices what they run, "+strconv.Itoa(maxPods)+" at most")
	output := addOutput(cmd, "`format`: table or json", "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := output.check(); err != nil {
			return err
		}
		found, err := p.status(cmd.Context(), &in, pods)
		if err != nil {
			return err
		}
		return p.tellStatus(found, outdated, output.format)
	}
	return cmd
}

// clusterStatus is the output of -o json.
type clusterStatus struct {
	Workloads    []workloadLine `json:"workloads"`
	MeshServices []meshLine     `json:"meshServices"`
	// Pods of the MeshServices, where they were asked.
	Pods []podLine `json:"pods,omitempty"`
}

// workloadLine is what status says of a workload.
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

func (p *program) status(ctx context.Context, in *cluster, pods bool) (*clusterStatus, error) {
	c, err := in.connect()
	if err != nil {
		return nil, err
	}
	f, err := c.installation(ctx, p.now)
	if err != nil {
		return nil, err
	}
	if err := p.inNamespace(f, in.namespace); err != nil {
		return nil, err
	}
	lines, unsure, err := c.workloads(ctx, f, in.namespace)
	if err != nil {
		return nil, err
	}
	for _, release := range unsure {
		fmt.Fprintf(p.errors, "%s: no pod could be tried, so that sidecars are compared with this program's version, %s, and not with the webhook's\n", release, injector.Version)
	}
	services, err := c.meshServices(ctx, in.namespace)
	if err != nil {
		return nil, err
	}
	found := &clusterStatus{Workloads: lines, MeshServices: meshLines(services)}
	if !pods {
		return found, nil
	}
	var more int
	if found.Pods, more, err = c.meshPods(ctx, f, found.MeshServices); err != nil {
		return nil, err
	}
	if more > 0 {
		fmt.Fprintf(p.errors, "%d more pods are not asked, beside the first %d: -n NAMESPACE asks those of one namespace\n", more, maxPods)
	}
	return found, c.askPods(ctx, found.Pods)
}

// tellStatus writes it, and returns what is wrong as findings.
func (p *program) tellStatus(found *clusterStatus, outdated bool, format string) error {
	pods, services := 0, 0
	for _, line := range found.Workloads {
		pods += line.Outdated + line.Damaged + line.Missed
	}
	for n := range found.MeshServices {
		if found.MeshServices[n].wrong {
			services++
		}
	}
	if outdated {
		found.Workloads = slices.DeleteFunc(found.Workloads, func(l workloadLine) bool { return l.Remedy == "" })
	}
	if err := p.writeStatus(found, format); err != nil {
		return err
	}
	var wrong []string
	if pods > 0 {
		wrong = append(wrong, fmt.Sprintf("%d pods are outdated or damaged, or have no sidecar though they opted in", pods))
	}
	if services > 0 {
		wrong = append(wrong, counted(services, "MeshService")+" not valid, not rendered or rejected by a pod")
	}
	if len(wrong) > 0 {
		return findings{errors.New(strings.Join(wrong, "; "))}
	}
	return nil
}

func (p *program) writeStatus(found *clusterStatus, format string) error {
	if format == "json" {
		return writeJSON(p.out, found)
	}
	if err := p.printStatus(found.Workloads); err != nil {
		return err
	}
	if err := p.printMeshServices(found.MeshServices); err != nil {
		return err
	}
	return p.printPods(found.Pods)
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

// installation is what is needed to judge pods: the releases and the namespaces.
func (c *connection) installation(ctx context.Context, now time.Time) (*preflight.Facts, error) {
	f := &preflight.Facts{Now: now, Releases: c.releases(ctx)}
	if f.Releases.Err != nil {
		return nil, fmt.Errorf("looking for the webhook's ConfigMap in all namespaces (it needs the right to list ConfigMaps): %w", f.Releases.Err)
	}
	for _, r := range f.Releases.Value {
		if r.ConfigErr != nil {
			return nil, fmt.Errorf("reading the ConfigMap %s/%s: %w", r.Namespace, r.Name, r.ConfigErr)
		}
	}
	if len(f.Releases.Value) == 0 {
		return nil, fmt.Errorf("no ConfigMap of a webhook was found at %s: is the chart installed? `helm list -A` tells", c.config.Host)
	}
	f.Namespaces.Value, f.Namespaces.Err = items(ctx, c, &corev1.NamespaceList{}, func(l *corev1.NamespaceList) []corev1.Namespace { return l.Items })
	if f.Namespaces.Err != nil {
		return nil, fmt.Errorf("listing the Namespaces: %w", f.Namespaces.Err)
	}
	return f, nil
}

// inNamespace says whether the namespace that was asked for is there, and on standard
// error where no release is for it, so that nothing will be found in it.
func (p *program) inNamespace(f *preflight.Facts, name string) error {
	if name == "" {
		return nil
	}
	at := slices.IndexFunc(f.Namespaces.Value, func(ns corev1.Namespace) bool { return ns.Name == name })
	if at < 0 {
		return fmt.Errorf("there is no namespace %s", name)
	}
	if !slices.ContainsFunc(f.Releases.Value, func(r preflight.Installed) bool { return r.Claims(&f.Namespaces.Value[at]) }) {
		fmt.Fprintf(p.errors, "namespace %s belongs to no release: `pillionctl check -n %s` tells what it would take\n", name, name)
	}
	return nil
}

// workloads audits the pods of namespaces that opted in, or of one namespace, each by
// its release. Of the releases in unsure it is not known what they put into new pods.
func (c *connection) workloads(ctx context.Context, f *preflight.Facts, only string) (lines []workloadLine, unsure []string, err error) {
	lines = []workloadLine{}
	for n := range f.Releases.Value {
		r := &f.Releases.Value[n]
		var by *auditor
		for m := range f.Namespaces.Value {
			ns := &f.Namespaces.Value[m]
			if only != "" && ns.Name != only || !r.Claims(ns) {
				continue
			}
			if by == nil { // a release without pods is not asked
				making, known := c.making(ctx, f, r)
				if !known {
					unsure = append(unsure, r.String())
				}
				by = &auditor{injector: r.Injector, making: making}
			}
			by.namespace = injector.Namespace{Name: ns.Name, Labels: ns.Labels}
			found, err := c.audit(ctx, by)
			if err != nil {
				return nil, nil, err
			}
			lines = append(lines, found...)
		}
	}
	return lines, unsure, nil
}

// auditor is what the pods of a namespace are compared with.
type auditor struct {
	injector  *injector.Injector
	making    injector.Making
	namespace injector.Namespace
}

// audit goes through a namespace's pods page by page.
func (c *connection) audit(ctx context.Context, by *auditor) ([]workloadLine, error) {
	byWorkload := map[string]*workloadLine{}
	if err := c.eachPod(ctx, by.namespace.Name, func(pod *corev1.Pod) error { return by.add(byWorkload, pod) }); err != nil {
		return nil, err
	}
	var lines []workloadLine
	for _, line := range byWorkload {
		lines = append(lines, *line)
	}
	slices.SortFunc(lines, func(a, b workloadLine) int { return cmp.Compare(a.Workload, b.Workload) })
	return lines, nil
}

// add counts a pod that runs or is about to.
func (a *auditor) add(byWorkload map[string]*workloadLine, pod *corev1.Pod) error {
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
		line = &workloadLine{Namespace: a.namespace.Name, Workload: name}
		byWorkload[name] = line
	}
	audit := a.injector.AuditBy(injector.Request{Pod: decoded, Namespace: a.namespace}, a.making)
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
		return "pod/" + pod.Name, injector.MakeAnew(pod.Namespace, "", "", pod.Name)
	}
	kind, name := owner.Kind, owner.Name
	if hash := pod.Labels["pod-template-hash"]; kind == "ReplicaSet" && hash != "" && strings.HasSuffix(name, "-"+hash) {
		kind, name = "Deployment", strings.TrimSuffix(name, "-"+hash)
	}
	return kubectlName(kind, name), injector.MakeAnew(pod.Namespace, kind, name, pod.Name)
}

// kubectlName is an object as kubectl takes it.
func kubectlName(kind, name string) string { return strings.ToLower(kind) + "/" + name }
