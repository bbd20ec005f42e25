package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/manifest"
	"github.com/pillion-mesh/pillion/preflight"
)

// switchCommand is enable, or disable.
func (p *program) switchCommand(invocation string, enable bool) *cobra.Command {
	var (
		in            cluster
		dryRun, force bool
	)
	name, what, effect := "enable", "Have a workload's pods get a sidecar", "sets the opt-in label on the workload's pod template, which is the right place for it"
	refuses := "Where it refuses the pod, or returns it without a sidecar that works, nothing is changed."
	if !enable {
		refuses = "What it says of the pod changes nothing: the way back is always open."
		name, what, effect = "disable", "Have a workload's pods get no sidecar any more", "takes the opt-in label from the workload's pod template"
	}
	cmd := &cobra.Command{
		Use:   name + " KIND/NAME",
		Short: what,
		Long: what + ". It " + effect + ",\n" +
			"and nothing else; what Kubernetes then does with the pods that run depends on the kind, and is said at the\n" +
			"end. First it shows what changes in the pods, and asks kube-apiserver by dry runs about the change and about\n" +
			"such a pod. " + refuses + " Where the manifest is\n" +
			"kept elsewhere (Git, Helm), make the same change there.\n\n" + exitHelp,
		Example: examples(invocation,
			name+" deploy/web -n shop --dry-run", "see what would change",
			name+" deploy/web -n shop", "do it"),
		Args: cobra.ExactArgs(1),
	}
	in.addFlags(cmd)
	kinds := workloadKinds()
	cmd.ValidArgsFunction = completeObject(&in, kinds[:len(kinds)-1])
	cmd.Flags().BoolVar(&dryRun, "dry-run", false, "change nothing")
	if enable {
		cmd.Flags().BoolVar(&force, "force", false, "change it even where its pods are refused now, or get no sidecar that works")
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		return p.switchInjection(cmd.Context(), &in, args[0], enable, dryRun, force || !enable)
	}
	return cmd
}

func (p *program) switchInjection(ctx context.Context, in *cluster, ref string, enable, dryRun, anyway bool) error {
	c, err := in.connect()
	if err != nil {
		return err
	}
	object, err := c.object(ctx, ref)
	if err != nil {
		return err
	}
	w := workloadIn(object)
	if w == nil || w.Path == "" {
		return findings{fmt.Errorf("%s is no workload with a pod template: a pod gets its sidecar when it is created, or never", ref)}
	}
	where, err := c.place(ctx, p)
	if err != nil {
		return err
	}
	optIn := where.release.Config.OptIn
	value, labelled := w.Template.Labels[optIn.Label]
	p.tellNamespace(where, enable)
	if enable && value == optIn.Value || !enable && !labelled {
		_, err := fmt.Fprintf(p.out, "%s: nothing to do, label %s of %s is %s\n", ref, optIn.Label, w.Path, map[bool]string{true: fmt.Sprintf("%q", value), false: "not there"}[labelled])
		return err
	}
	patch, err := labelPatch(w.Path, optIn.Label, optIn.Value, enable)
	if err != nil {
		return err
	}
	changed := object.DeepCopyObject().(client.Object)
	if err := c.Patch(ctx, changed, patch, client.DryRunAll); err != nil {
		return findings{fmt.Errorf("kube-apiserver refuses the change of %s, so nothing was changed: %w", ref, err)}
	}
	if err := p.showSwitch(where, w, changed); err != nil {
		return err
	}
	now := c.createdNow(ctx, changed, where)
	if _, err := fmt.Fprintf(p.out, "%s: a pod created now: %s\n", ref, now.text); err != nil {
		return err
	}
	if (now.refused || now.bare) && !anyway {
		return findings{fmt.Errorf("the pods of %s would be %s; nothing was changed (--force does it all the same)", ref,
			map[bool]string{true: "refused", false: "without a sidecar that works"}[now.refused])}
	}
	if dryRun {
		_, err := fmt.Fprintf(p.out, "%s: nothing was changed (--dry-run)\n", ref)
		return err
	}
	if err := c.Patch(ctx, object, patch); err != nil {
		return fmt.Errorf("changing %s: %w", ref, err)
	}
	_, err = fmt.Fprintf(p.out, "%s: changed; %s\n", ref, whatFollows(object, ref))
	return err
}

// whatFollows says when the pods of a workload whose template was changed get to be
// like it.
func whatFollows(object client.Object, ref string) string {
	namespace := object.GetNamespace()
	rolls := fmt.Sprintf("its pods are replaced; `kubectl -n %s rollout status %s` follows it", namespace, ref)
	const byHand = "the pods that run stay as they are, each until it is deleted"
	switch o := object.(type) {
	case *appsv1.Deployment:
		if o.Spec.Paused {
			return fmt.Sprintf("it is paused, so its pods are replaced after `kubectl -n %s rollout resume %s`", namespace, ref)
		}
		return rolls
	case *appsv1.StatefulSet:
		if o.Spec.UpdateStrategy.Type == appsv1.OnDeleteStatefulSetStrategyType {
			return byHand + " (updateStrategy OnDelete)"
		}
		return rolls
	case *appsv1.DaemonSet:
		if o.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType {
			return byHand + " (updateStrategy OnDelete)"
		}
		return rolls
	case *batchv1.CronJob:
		return "the pods of its next Job are made so, and those that run stay as they are"
	default:
		return byHand
	}
}

// tellNamespace says on standard error what the namespace's half of the opt-in lacks.
func (p *program) tellNamespace(where *place, enable bool) {
	optIn := where.release.Config.OptIn
	if enable && where.namespace.Labels[optIn.Label] != optIn.Value {
		fmt.Fprintf(p.errors, "namespace %s has not opted in, so no pod of it gets a sidecar until somebody runs: kubectl label namespace %s %s=%s\n",
			where.namespace.Name, where.namespace.Name, optIn.Label, optIn.Value)
	}
}

// labelPatch sets the label of the template at path, or takes it away: a merge patch
// that says nothing else.
func labelPatch(path, label, value string, set bool) (client.Patch, error) {
	var inner any = map[string]any{"metadata": map[string]any{"labels": map[string]any{label: value}}}
	if !set {
		inner = map[string]any{"metadata": map[string]any{"labels": map[string]any{label: nil}}}
	}
	fields := strings.Split(path, ".")
	for n := len(fields) - 1; n >= 0; n-- {
		inner = map[string]any{fields[n]: inner}
	}
	raw, err := json.Marshal(inner)
	if err != nil {
		return nil, fmt.Errorf("writing the patch: %w", err)
	}
	return client.RawPatch(types.MergePatchType, raw), nil
}

// showSwitch prints how the pods change: the label and what comes or goes with it.
func (p *program) showSwitch(where *place, before *preflight.Workload, changed client.Object) error {
	after := workloadIn(changed)
	if after == nil {
		return errors.New("the workload has ended")
	}
	var texts [2]string
	for n, w := range []*preflight.Workload{before, after} {
		pod, result, err := where.release.Inject(where.facts, w, injector.Namespace{Name: where.namespace.Name, Labels: known(where.namespace.Labels)})
		if err != nil {
			return err
		}
		if n == 1 {
			for _, warning := range result.Warnings {
				fmt.Fprintf(p.errors, "warning %s: %s\n", warning.Reason, warning.Message)
			}
		}
		if texts[n], err = podText(pod); err != nil {
			return err
		}
	}
	name := kubectlName(before.Kind, before.Name)
	diff := manifest.Diff("pods of "+name, "pods of "+name+" (changed)", texts[0], texts[1])
	if p.color {
		diff = manifest.Color(diff)
	}
	_, err := fmt.Fprint(p.out, diff)
	return err
}
