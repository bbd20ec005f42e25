package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	k8syaml "sigs.k8s.io/yaml"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/manifest"
	"github.com/pillion-mesh/pillion/preflight"
)

// diffOptions are the flags of diff.
type diffOptions struct {
	cluster
	file string
	all  bool
}

func (p *program) diffCommand(invocation string) *cobra.Command {
	var o diffOptions
	cmd := &cobra.Command{
		Use:   "diff -f NEWCONFIG",
		Short: "Tell what a new configuration would change for the workloads of a cluster",
		Long: "Tell of each workload what a new InjectorConfig would change, before it is rolled out: the\n" +
			"verdict and its reason, and what its pods would get. It takes the place of the configuration of the\n" +
			"release with the same revision. What the chart adds to a configuration, the cluster's version\n" +
			"and the release's own namespace, is added to it as well. Nothing is changed.\n\n" +
			"Pods that run keep what they have until they are created anew; only what new pods get is compared.\n\n" +
			"Exit status: 0 nothing would change, 1 something would, 2 could not run.",
		Example: examples(invocation,
			"diff -f injector.yaml", "for all namespaces that opted in",
			"diff -f injector.yaml -n shop -o json", "for one"),
		Args: filesByFlag,
	}
	o.addFlags(cmd)
	cmd.Flags().Lookup("namespace").Usage = "only this `namespace` (default: all)"
	cmd.Flags().BoolVarP(&o.all, "all-namespaces", "A", false, "all namespaces, which is the default")
	cmd.Flags().StringVarP(&o.file, "filename", "f", "", "`file` with the new InjectorConfig; - for standard input")
	cmd.MarkFlagsMutuallyExclusive("namespace", "all-namespaces")
	output := addOutput(cmd, "`format`: table or json", "table", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := output.check(); err != nil {
			return err
		}
		return p.diff(cmd.Context(), &o, output.format)
	}
	return cmd
}

// changed is a workload for which a new configuration changes something.
type changed struct {
	Namespace string     `json:"namespace"`
	Workload  string     `json:"workload"`
	From      changedWay `json:"from"`
	To        changedWay `json:"to"`
	// Diff of the pods that the workload makes; empty where they stay the same.
	Diff string `json:"diff,omitempty"`
}

type changedWay struct {
	Verdict string `json:"verdict"`
	Code    string `json:"code"`
	Message string `json:"message"`
}

func (p *program) diff(ctx context.Context, o *diffOptions, format string) error {
	if o.file == "" {
		return errors.New("no configuration: give the file of the new InjectorConfig with -f FILE")
	}
	c, err := o.connect()
	if err != nil {
		return err
	}
	f, err := c.installation(ctx, p.now)
	if err != nil {
		return err
	}
	if err := p.inNamespace(f, o.namespace); err != nil {
		return err
	}
	before, after, err := p.newConfiguration(f, o.file)
	if err != nil {
		return err
	}
	all, changes := 0, []changed{}
	for n := range f.Namespaces.Value {
		ns := &f.Namespaces.Value[n]
		if o.namespace != "" && ns.Name != o.namespace || !before.Claims(ns) && !after.Claims(ns) {
			continue
		}
		workloads, err := c.workloadsOf(ctx, ns.Name)
		if err != nil {
			return err
		}
		for m := range workloads {
			if workloads[m].Kind == "Pod" {
				continue // it is never created anew
			}
			all++
			change, err := compare(f, before, after, ns, &workloads[m])
			if err != nil {
				return err
			}
			if change != nil {
				changes = append(changes, *change)
			}
		}
	}
	return p.printChanges(changes, all, format)
}

func (p *program) printChanges(changes []changed, all int, format string) error {
	if format == "json" {
		if err := writeJSON(p.out, changes); err != nil {
			return err
		}
	} else {
		for _, c := range changes {
			if err := p.printChange(c); err != nil {
				return err
			}
		}
	}
	if len(changes) > 0 {
		return findings{fmt.Errorf("%d of %d workloads would change", len(changes), all)}
	}
	fmt.Fprintf(p.errors, "none of %d workloads would change\n", all)
	return nil
}

func (p *program) printChange(c changed) error {
	way := func(w changedWay) string { return w.Verdict + " " + w.Code + ": " + w.Message }
	text := fmt.Sprintf("%s\n", p.paint("1", c.Workload+" -n "+c.Namespace))
	if c.From.Verdict != c.To.Verdict || c.From.Code != c.To.Code || c.From.Message != c.To.Message {
		text += fmt.Sprintf("  was: %s\n  new: %s\n", way(c.From), way(c.To))
	}
	diff := c.Diff
	if p.color {
		diff = manifest.Color(diff)
	}
	_, err := fmt.Fprintf(p.out, "%s%s\n", text, diff)
	return err
}

// newConfiguration is the release that a configuration is for, as it is and as it would
// be with it.
func (p *program) newConfiguration(f *preflight.Facts, file string) (before, after *preflight.Installed, err error) {
	name, data, err := p.read(file)
	if err != nil {
		return nil, nil, err
	}
	config, err := v1alpha1.Decode(data)
	if err != nil {
		return nil, nil, located(name, err)
	}
	var revisions []string
	for n := range f.Releases.Value {
		r := &f.Releases.Value[n]
		revisions = append(revisions, fmt.Sprintf("%q", r.Revision()))
		if r.Revision() != config.Revision {
			continue
		}
		// As the chart does.
		if config.KubernetesVersion == "" {
			config.KubernetesVersion = r.Config.KubernetesVersion
		}
		if !slices.Contains(config.ExcludedNamespaces, r.Namespace) {
			config.ExcludedNamespaces = append(config.ExcludedNamespaces, r.Namespace)
		}
		made, err := injector.New(config)
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %w", name, err)
		}
		return r, &preflight.Installed{Namespace: r.Namespace, Name: r.Name, Config: config, Injector: made}, nil
	}
	return nil, nil, fmt.Errorf("%s is of revision %q, and the releases are of %v", name, config.Revision, revisions)
}

// compare is what changes for a workload; nil for nothing.
func compare(f *preflight.Facts, before, after *preflight.Installed, ns *corev1.Namespace, w *preflight.Workload) (*changed, error) {
	change := &changed{Namespace: ns.Name, Workload: kubectlName(w.Kind, w.Name)}
	var texts [2]string
	for n, r := range []*preflight.Installed{before, after} {
		pod, result, err := r.Inject(f, w, injector.Namespace{Name: ns.Name, Labels: known(ns.Labels)})
		if err != nil {
			return nil, err
		}
		if texts[n], err = podText(pod); err != nil {
			return nil, err
		}
		way := changedWay{string(result.Decision.Verdict), result.Decision.Reason.Code, result.Message}
		if n == 0 {
			change.From = way
		} else {
			change.To = way
		}
	}
	if change.From == change.To && texts[0] == texts[1] {
		return nil, nil //nolint:nilnil // nothing is not an error
	}
	change.Diff = manifest.Diff("pods of "+change.Workload, "with the new configuration", texts[0], texts[1])
	return change, nil
}

// known are labels that were read, be there any or not.
func known(labels map[string]string) map[string]string {
	if labels == nil {
		return map[string]string{}
	}
	return labels
}

// podText is a pod for reading. The status annotation is left out: it tells of the
// pod's making, and has the configuration's hash in it, which always differs.
func podText(pod *corev1.Pod) (string, error) {
	shown := struct {
		Metadata map[string]any `json:"metadata,omitempty"`
		Spec     corev1.PodSpec `json:"spec"`
	}{map[string]any{}, pod.Spec}
	if len(pod.Labels) > 0 {
		shown.Metadata["labels"] = pod.Labels
	}
	annotations := map[string]string{}
	for key, value := range pod.Annotations {
		if key != injector.StatusAnnotation {
			annotations[key] = value
		}
	}
	if len(annotations) > 0 {
		shown.Metadata["annotations"] = annotations
	}
	text, err := k8syaml.Marshal(shown)
	if err != nil {
		return "", fmt.Errorf("writing a pod as YAML: %w", err)
	}
	return string(text), nil
}
