package main

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/manifest"
)

// lintOptions are the flags of lint.
type lintOptions struct {
	meshInput
	envoy  string
	strict bool
}

func (p *program) lintCommand(invocation string) *cobra.Command {
	var o lintOptions
	cmd := &cobra.Command{
		Use:   "lint -f FILE",
		Short: "Check MeshServices, by Envoy itself where there is one",
		Long: "Check MeshServices: whether they are valid, what in them is probably not meant, whether\n" +
			"destinations that are Services of the same files are there with that port, whether inbound\n" +
			"ports are those of the app and not of its Service, whether what is rendered of them is\n" +
			"small enough for pods, and whether Envoy takes it. Envoy is a program in PATH, or the one\n" +
			"that --envoy names; whether it was asked is said for each MeshService.\n\n" +
			"Warnings do not count for the exit status, unless --strict is given.\n\n" +
			"-o json prints a list with file, line, name, namespace, version (of the generation), envoy\n" +
			"(\"accepted by VERSION\", \"rejected by VERSION\", or why it was not asked) and findings, each\n" +
			"with level (error, warning), line, path and message. What cannot be read has no name.\n\n" + exitHelp,
		Example: examples(invocation,
			"config lint -f checkout.yaml", "before it goes to the cluster",
			"config lint -f deploy/ --strict -o json", "in a pipeline"),
		Args: filesByFlag,
	}
	o.addFlags(cmd)
	cmd.Flags().StringVar(&o.envoy, "envoy", "", "`program` to ask, or none (default: envoy in PATH, if there is one)")
	cmd.Flags().BoolVar(&o.strict, "strict", false, "count warnings as findings")
	output := addOutput(cmd, "`format`: text or json", "text", "json")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if err := output.check(); err != nil {
			return err
		}
		return p.lint(cmd.Context(), &o, output.format)
	}
	return cmd
}

// lintFinding is something about a document. Level is error or warning.
type lintFinding struct {
	Level string `json:"level"`
	// Line of the file that the field is on, or of what is nearest above it.
	Line    int    `json:"line"`
	Path    string `json:"path,omitempty"`
	Message string `json:"message"`
}

// linted is a document with what was found.
type linted struct {
	File      string `json:"file"`
	Line      int    `json:"line"`
	Name      string `json:"name"`
	Namespace string `json:"namespace,omitempty"`
	// Version of the generation; empty where there is none.
	Version string `json:"version,omitempty"`
	// Envoy is "accepted by VERSION", "rejected by VERSION", or why it was not asked.
	Envoy    string        `json:"envoy"`
	Findings []lintFinding `json:"findings"`

	// document is nil for what could not be read.
	document *meshDocument
}

func (l *linted) add(level, path, message string) {
	line := l.Line
	if path != "" {
		line = l.document.object.LineOf(path)
	}
	l.Findings = append(l.Findings, lintFinding{level, line, path, message})
}

func (l *linted) count(level string) int {
	n := 0
	for _, f := range l.Findings {
		if f.Level == level {
			n++
		}
	}
	return n
}

func (p *program) lint(ctx context.Context, o *lintOptions, format string) error {
	loaded, err := p.loadMesh(o.files, o.namespace)
	if err != nil {
		return err
	}
	if err := loaded.none(o.files...); err != nil {
		return err
	}
	judge, err := findEnvoy(ctx, o.envoy)
	if err != nil {
		return err
	}
	results := unread(loaded.broken)
	seen := map[string]string{}
	for _, d := range loaded.documents {
		l := &linted{File: d.object.File, Line: d.object.Line, Name: d.object.Name, Namespace: d.object.Namespace, Findings: []lintFinding{}, document: d}
		results = append(results, l)
		for _, problem := range d.problems {
			l.add("error", problem.Path, problem.Message)
		}
		slices.SortStableFunc(l.Findings, func(a, b lintFinding) int { return a.Line - b.Line })
		if d.service == nil {
			l.Envoy = "not asked: the document is not valid"
			continue
		}
		l.Namespace = d.service.Namespace
		if first, again := seen[d.service.Namespace+"/"+d.service.Name]; again {
			l.add("error", "metadata.name", "this MeshService is at "+first+", too: the one that is applied last would replace the other")
		}
		seen[d.service.Namespace+"/"+d.service.Name] = d.object.Place()
		for _, warning := range v1alpha1.WarnMeshService(d.document) {
			path, message, _ := strings.Cut(warning, ": ")
			l.add("warning", path, message)
		}
		warn := func(path, format string, args ...any) { l.add("warning", path, fmt.Sprintf(format, args...)) }
		loaded.dangling(d.document, warn)
		loaded.behind(d.document, warn)
		slices.SortStableFunc(l.Findings, func(a, b lintFinding) int { return cmp.Or(strings.Compare(a.Level, b.Level), a.Line-b.Line) })
		if err := l.render(ctx, judge); err != nil {
			return err
		}
	}
	slices.SortStableFunc(results, func(a, b *linted) int { return cmp.Or(strings.Compare(a.File, b.File), a.Line-b.Line) })
	if err := p.writeLinted(results, format); err != nil {
		return err
	}
	return lintedResult(results, o.strict)
}

// unread are the documents that could not be read.
func unread(broken []*manifest.Error) []*linted {
	results := []*linted{}
	for _, b := range broken {
		line := max(b.Line, 1)
		results = append(results, &linted{
			File: b.File, Line: line, Envoy: "not asked: the document cannot be read",
			Findings: []lintFinding{{Level: "error", Line: line, Message: b.What}},
		})
	}
	return results
}

// render asks Envoy.
func (l *linted) render(ctx context.Context, judge *envoyProgram) error {
	g, files, err := rendered(l.document.service)
	if err != nil {
		l.Envoy = "not asked: nothing could be rendered"
		l.add("error", "", err.Error())
		return nil
	}
	l.Version = g.Version
	if err := fits(g); err != nil {
		l.Envoy = "not asked: no pod would be given it"
		l.add("error", "spec", err.Error())
		return nil
	}
	merged, err := bootstrap.Merged(files)
	if err != nil {
		return err
	}
	verdict, err := judge.validate(ctx, merged)
	if err != nil {
		return err
	}
	l.Envoy = judge.said(verdict)
	if verdict != "" {
		l.add("error", "", "Envoy does not take what is rendered of it: "+verdict)
	}
	return nil
}

// fits says whether pods could be given what was rendered.
func fits(g *bootstrap.Generation) error {
	file, err := g.Seal()
	if err != nil {
		return err
	}
	if _, err := bootstrap.Pack(file); err != nil {
		return fmt.Errorf("what is rendered of it has %w: destinations or routes have to go", err)
	}
	return nil
}

// dangling are destinations that are Services which are not in the files, where these
// have Services of that namespace at all.
func (f *meshFiles) dangling(document *v1alpha1.MeshService, warn func(path, format string, args ...any)) {
	for n, to := range document.Spec.Egress {
		if to.Service == nil {
			continue
		}
		var others []string
		found := -1
		for m, s := range f.services {
			if s.namespace == to.Service.Namespace {
				others = append(others, s.name)
				if s.name == to.Service.Name {
					found = m
				}
			}
		}
		path := fmt.Sprintf("spec.egress[%d]", n)
		switch {
		case len(others) == 0:
		case found < 0:
			warn(path+".service.name", "there is no Service %s in namespace %s in these files; others are %s", to.Service.Name, to.Service.Namespace, strings.Join(others, ", "))
		case len(f.services[found].ports) > 0 && !slices.Contains(f.services[found].ports, to.Port):
			warn(path+".port", "Service %s in these files has no port %d; it has %s", to.Service.Name, to.Port, strings.ReplaceAll(strings.Trim(fmt.Sprint(f.services[found].ports), "[]"), " ", ", "))
		}
	}
}

// behind are inbound ports that are those of the Service of that name, where it leads them
// to others: the sidecar is behind it, and sees what the app listens on.
func (f *meshFiles) behind(document *v1alpha1.MeshService, warn func(path, format string, args ...any)) {
	for _, s := range f.services {
		if s.name != document.Name || s.namespace != document.Namespace {
			continue
		}
		listening := slices.Collect(maps.Values(s.targets))
		for n, port := range document.Spec.Inbound {
			if target, is := s.targets[port.Port]; is && !slices.Contains(listening, port.Port) {
				warn(fmt.Sprintf("spec.inbound[%d].port", n), "%d is the port of Service %s, which leads it to port %d of the pods: give that one, on which the app listens", port.Port, s.name, target)
			}
		}
	}
}

func (p *program) writeLinted(results []*linted, format string) error {
	if format == "json" {
		encoder := json.NewEncoder(p.out)
		encoder.SetEscapeHTML(false)
		encoder.SetIndent("", "  ")
		return encoder.Encode(results)
	}
	for _, l := range results {
		for _, f := range l.Findings {
			text := fmt.Sprintf("%s:%d: %s: ", l.File, f.Line, f.Level)
			if f.Path != "" {
				text += f.Path + ": "
			}
			fmt.Fprintln(p.out, text+f.Message)
		}
		if l.count("error") == 0 {
			fmt.Fprintf(p.out, "%s: valid, generation %s; Envoy: %s\n", l.document.title(), l.Version, l.Envoy)
		}
	}
	return nil
}

func lintedResult(results []*linted, strict bool) error {
	errorCount, warnings, unread := 0, 0, 0
	for _, l := range results {
		if l.document == nil {
			unread++
		}
		errorCount += l.count("error")
		warnings += l.count("warning")
	}
	if errorCount == 0 && (warnings == 0 || !strict) {
		return nil
	}
	in := counted(len(results)-unread, "MeshService")
	if unread > 0 {
		in += " and " + counted(unread, "document") + " that cannot be read"
	}
	return findings{fmt.Errorf("%s and %s in %s", counted(errorCount, "error"), counted(warnings, "warning"), in)}
}

func counted(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}
