package main

import (
	"fmt"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"
	k8syaml "sigs.k8s.io/yaml"

	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/manifest"
)

func (p *program) injectCommand(invocation string) *cobra.Command {
	var (
		in   input
		diff bool
	)
	cmd := &cobra.Command{
		Use:   "inject -f FILE",
		Short: "Print manifests with the sidecar in them",
		Long: "Print manifests with the sidecar in them, as the webhook would add it: pods, what has\n" +
			"pod templates (of Kubernetes' own kinds and of others), and lists of them. Everything else is\n" +
			"printed as it is, and so are the comments, the order and the layout of what is not changed.\n" +
			"What is done with each pod, and why, is told on standard error.\n\n" +
			"A pod that is refused leaves nothing printed.\n\n" + exitHelp,
		Example: examples(invocation,
			"inject -f web.yaml | kubectl apply -f -", "inject and apply",
			"inject -f web.yaml --diff", "see what would change",
			"inject -f - -o json < web.yaml", "from standard input, as JSON",
			"inject -f web.yaml --config injector.yaml -n shop --namespace-labels service-mesh-enabled=true", "as in the cluster"),
		Args: filesByFlag,
	}
	in.addFlags(cmd)
	cmd.Flags().BoolVar(&diff, "diff", false, "print what changes, as a unified diff, instead of the manifests")
	output := addOutput(cmd, "`format` of the manifests: same (each document in its own), yaml or json", "same", "yaml", "json")
	cmd.MarkFlagsMutuallyExclusive("diff", "output")
	cmd.RunE = func(*cobra.Command, []string) error {
		if err := output.check(); err != nil {
			return err
		}
		return p.inject(&in, output.format, diff)
	}
	return cmd
}

func (p *program) inject(in *input, format string, diff bool) error {
	l, err := p.load(in)
	if err != nil {
		return err
	}
	pods, err := p.judge(l, in)
	if err != nil {
		return err
	}
	refused := 0
	for n := range pods {
		p.tell(&pods[n])
		if pods[n].result.Decision.Verdict == injector.Refuse {
			refused++
		}
	}
	if len(pods) == 0 {
		fmt.Fprintln(p.errors, "no pod was found: nothing to inject")
	}
	if refused > 0 {
		return findings{fmt.Errorf("%d of %d pods refused; nothing was printed", refused, len(pods))}
	}
	texts := make([]string, len(l.streams))
	for n, stream := range l.streams {
		if texts[n], err = stream.Text(); err != nil {
			return findings{err}
		}
	}
	switch {
	case diff:
		return p.printDiffs(l, texts)
	case format == "json":
		return p.printJSON(l)
	case format == "yaml":
		return p.printYAML(l)
	}
	return p.printTexts(texts)
}

// tell says on standard error what is done with a pod, and why.
func (p *program) tell(j *judged) {
	prefix := fmt.Sprintf("%s: %s: ", j.object.Place(), j.found)
	r := j.result
	line := fmt.Sprintf("%s %s", r.Decision.Verdict, r.Decision.Reason)
	switch r.Decision.Verdict {
	case injector.Refuse:
		fmt.Fprintf(p.errors, "%s%s\n", prefix, line)
		for _, err := range r.Errors {
			path, place := j.found.Field(err.Field)
			fmt.Fprintf(p.errors, "  %s: %s: %s\n", place, path, err.ErrorBody())
		}
	case injector.Skip:
		fmt.Fprintf(p.errors, "%s%s: %s. %s\n", prefix, line, r.Message, r.Decision.Reason.Remedy)
	default:
		fmt.Fprintf(p.errors, "%s%s: %s\n", prefix, line, r.Message)
	}
	for _, warning := range r.Warnings {
		fmt.Fprintf(p.errors, "%swarning %s: %s\n", prefix, warning.Reason, warning.Message)
	}
}

func (p *program) printDiffs(l *loaded, texts []string) error {
	for n, stream := range l.streams {
		diff := manifest.Diff(stream.Name, stream.Name+" (injected)", l.texts[n], texts[n])
		if p.color {
			diff = manifest.Color(diff)
		}
		if _, err := fmt.Fprint(p.out, diff); err != nil {
			return err
		}
	}
	return nil
}

// printTexts prints files so that they are one stream.
func (p *program) printTexts(texts []string) error {
	for n, text := range texts {
		if n > 0 {
			if !strings.HasSuffix(texts[n-1], "\n") {
				fmt.Fprintln(p.out)
			}
			if !strings.HasPrefix(text, "---") {
				fmt.Fprintln(p.out, "---")
			}
		}
		if _, err := fmt.Fprint(p.out, text); err != nil {
			return err
		}
	}
	return nil
}

// documents of all files as JSON.
func (l *loaded) documents() ([]jsontext.Value, error) {
	var all []jsontext.Value
	for _, stream := range l.streams {
		for _, doc := range stream.Documents() {
			raw, err := doc.JSON()
			if err != nil {
				return nil, err
			}
			all = append(all, raw)
		}
	}
	return all, nil
}

// printJSON prints one document as it is, and several as a List.
func (p *program) printJSON(l *loaded) error {
	all, err := l.documents()
	if err != nil {
		return err
	}
	var text jsontext.Value
	if len(all) == 1 {
		text = all[0]
	} else {
		text = append(text, `{"apiVersion":"v1","kind":"List","items":[`...)
		for n, raw := range all {
			if n > 0 {
				text = append(text, ',')
			}
			text = append(text, raw...)
		}
		text = append(text, "]}"...)
	}
	if err := text.Indent(jsontext.WithIndent("  ")); err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	_, err = fmt.Fprintf(p.out, "%s\n", text)
	return err
}

// printYAML prints every document as YAML, in the order of its keys.
func (p *program) printYAML(l *loaded) error {
	for s, stream := range l.streams {
		for n, doc := range stream.Documents() {
			text, err := doc.Text()
			if err != nil {
				return err
			}
			if doc.IsJSON() {
				converted, err := k8syaml.JSONToYAML([]byte(text))
				if err != nil {
					return fmt.Errorf("%s: writing YAML: %w", stream.Name, err)
				}
				text = string(converted)
			}
			if s+n > 0 {
				fmt.Fprintln(p.out, "---")
			}
			if _, err := fmt.Fprintln(p.out, strings.TrimRight(text, "\n")); err != nil {
				return err
			}
		}
	}
	return nil
}
