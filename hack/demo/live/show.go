package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/hack/demo/screen"
	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/manifest"
)

// showInjected creates a pod that asked for a sidecar.
func showInjected(ctx context.Context, out *screen.Screen, w *world) error {
	pod, err := w.deploy(ctx, "checkout.yaml")
	if err != nil {
		return err
	}
	before, err := w.withoutWebhook(ctx, pod)
	if err != nil {
		return err
	}
	if err := w.awaitWebhook(ctx, pod); err != nil {
		return err
	}
	after, warnings, err := w.create(ctx, pod)
	if err != nil {
		return err
	}
	if err := checkInjected(after, warnings); err != nil {
		return err
	}

	out.Say(screen.Plain, "")
	out.Fact(screen.Green, "injected", fmt.Sprintf("pod/%s in namespace %s: both carry the label", after.GetName(), meshed))
	for _, warning := range warnings {
		out.Fact(screen.Amber, "warning", warning)
	}
	if err := showStatus(out, after); err != nil {
		return err
	}
	return showDiff(out, w.keep, before, after)
}

// checkInjected holds the pod against what the demo says of it.
func checkInjected(pod *unstructured.Unstructured, warnings []string) error {
	want := []string{"pillion-init", "envoy"}
	if got := containerNames(pod, "initContainers"); !slices.Equal(got, want) {
		return fmt.Errorf("the pod's init containers are %q, not %q", got, want)
	}
	if got := containerNames(pod, "containers"); !slices.Equal(got, []string{"checkout"}) {
		return fmt.Errorf("the app's containers changed: %q", got)
	}
	if !slices.ContainsFunc(warnings, func(warning string) bool { return strings.Contains(warning, "pillion.dev/drain-time") }) {
		return fmt.Errorf("no warning suggests pillion.dev/drain-time for pillion.dev/drain-tme: %q", warnings)
	}
	return nil
}

// showStatus prints what the pod itself records of its injection.
func showStatus(out *screen.Screen, pod *unstructured.Unstructured) error {
	var status injector.Status
	if err := json.Unmarshal([]byte(pod.GetAnnotations()[injector.StatusAnnotation]), &status); err != nil {
		return fmt.Errorf("reading the annotation %s: %w", injector.StatusAnnotation, err)
	}
	out.Say(screen.Bold, "\n  What the pod itself records, in the annotation %s", injector.StatusAnnotation)
	out.Fact(screen.Plain, "mode", fmt.Sprintf("%s (%s)", status.Mode, status.ModeReason))
	out.Fact(screen.Plain, "added", strings.Join(status.Added, ", "))
	for _, change := range status.Changed {
		out.Fact(screen.Plain, "changed", fmt.Sprintf("%s: %s -> %s", change.Path, text(change.From), text(change.To)))
	}
	return nil
}

// text of a recorded value, as JSON.
func text(value any) string {
	encoded, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprint(value)
	}
	return string(encoded)
}

// showDiff prints what the webhook made of the pod, and keeps the whole of it in a
// file for whoever wants to read on.
func showDiff(out *screen.Screen, keep string, before, after *unstructured.Unstructured) error {
	from, err := alike(before)
	if err != nil {
		return err
	}
	to, err := alike(after)
	if err != nil {
		return err
	}
	if err := os.WriteFile(keep, to, 0o600); err != nil {
		return fmt.Errorf("keeping the pod as it was stored: %w", err)
	}
	out.Say(screen.Bold, "\n  What kube-apiserver stored, against the same pod in a namespace without the label")
	out.Say(screen.Dim, "  (folded: the containers of part 1; the whole pod is in %s)\n", keep)
	out.Diff(fold(manifest.Diff("without Pillion", "stored", string(from), string(to))))
	return nil
}

// fold leaves out the middle of a long run of lines that were added.
func fold(diff string) string {
	// Runs up to long are shown whole, of others so many lines at both ends.
	const long, ends = 24, 4
	var folded []string
	lines := strings.Split(diff, "\n")
	for i := 0; i < len(lines); {
		end := i
		for end < len(lines) && strings.HasPrefix(lines[end], "+") {
			end++
		}
		switch {
		case end-i > long:
			folded = append(folded, lines[i:i+ends]...)
			folded = append(folded, fmt.Sprintf("+   ... %d more lines ...", end-i-2*ends))
			folded = append(folded, lines[end-ends:end]...)
		case end > i:
			folded = append(folded, lines[i:end]...)
		default:
			folded = append(folded, lines[i])
			end++
		}
		i = end
	}
	return strings.Join(folded, "\n")
}

// showUntouched creates a pod in the same namespace that did not ask.
func showUntouched(ctx context.Context, out *screen.Screen, w *world) error {
	pod, err := w.deploy(ctx, "ledger.yaml")
	if err != nil {
		return err
	}
	before, err := w.withoutWebhook(ctx, pod)
	if err != nil {
		return err
	}
	after, warnings, err := w.create(ctx, pod)
	if err != nil {
		return err
	}
	from, errFrom := alike(before)
	to, errTo := alike(after)
	if err := errors.Join(errFrom, errTo); err != nil {
		return err
	}
	if !bytes.Equal(from, to) || len(warnings) > 0 {
		return fmt.Errorf("a pod that did not ask was changed, or its owner warned: %q", warnings)
	}
	result, err := w.verdict(after)
	if err != nil {
		return err
	}
	if result.Decision.Verdict != injector.Skip {
		return fmt.Errorf("the verdict on a pod that did not ask is %s", result.Decision.Verdict)
	}
	out.Say(screen.Plain, "")
	out.Fact(screen.Green, "untouched", fmt.Sprintf("pod/%s in the same namespace, byte for byte", after.GetName()))
	out.Fact(screen.Plain, "why", fmt.Sprintf("%s: %s", result.Decision.Reason, result.Message))
	out.Fact(screen.Plain, "to change", result.Decision.Reason.Remedy)
	return nil
}

// verdict is what the rules say of a pod, with the configuration of the release.
func (w *world) verdict(object *unstructured.Unstructured) (injector.Result, error) {
	document, err := w.release.Config()
	if err != nil {
		return injector.Result{}, err
	}
	config, err := v1alpha1.Decode(document)
	if err != nil {
		return injector.Result{}, fmt.Errorf("reading the chart's configuration: %w", err)
	}
	inj, err := injector.New(config)
	if err != nil {
		return injector.Result{}, fmt.Errorf("preparing the chart's configuration: %w", err)
	}
	raw, err := object.MarshalJSON()
	if err != nil {
		return injector.Result{}, fmt.Errorf("writing the pod: %w", err)
	}
	pod, err := injector.DecodePod(raw)
	if err != nil {
		return injector.Result{}, err
	}
	return inj.Inject(injector.Request{
		Pod: pod, Now: time.Now(),
		Namespace: injector.Namespace{Name: object.GetNamespace(), Labels: map[string]string{"service-mesh-enabled": "true"}},
	}), nil
}
