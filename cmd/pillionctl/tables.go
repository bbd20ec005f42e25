package main

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"github.com/spf13/cobra"

	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/nearest"
)

// writeTable writes rows in columns; the first row is the header.
func writeTable(out io.Writer, indent string, rows [][]string) error {
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		line := strings.TrimRight(indent+strings.Join(row, "\t"), "\t")
		if _, err := fmt.Fprintln(table, line); err != nil {
			return err
		}
	}
	return table.Flush()
}

func writeJSON(out io.Writer, value any) error {
	text, err := json.Marshal(value, jsontext.WithIndent("  "), json.Deterministic(true))
	if err != nil {
		return fmt.Errorf("writing JSON: %w", err)
	}
	_, err = fmt.Fprintf(out, "%s\n", text)
	return err
}

// unknown is the error for a name that is not in a list.
func unknown(what, name string, known []string, list string) error {
	if near, ok := nearest.Name(name, known); ok {
		return findings{fmt.Errorf("%s %q is not known; did you mean %s?", what, name, near)}
	}
	return findings{fmt.Errorf("%s %q is not known; `%s` lists them all", what, name, list)}
}

func (p *program) reasonsCommand(invocation string) *cobra.Command {
	all := injector.Reasons()
	names := make([]string, 0, 2*len(all))
	codes := make([]string, 0, len(all))
	for _, r := range all {
		names = append(names, r.Code, r.Name)
		codes = append(codes, r.Code+"\t"+r.Name)
	}
	cmd := &cobra.Command{
		Use:     "reasons [CODE]",
		Short:   "List the reason codes, or explain one",
		Long:    "List the reason codes of decisions and warnings, or explain one, by its code or its name.\n\n" + exitHelp,
		Example: examples(invocation, "reasons PIL010", "what a code means, and what to do"),
		Args:    cobra.MaximumNArgs(1), ValidArgs: codes,
	}
	output := addOutput(cmd, "`format`: table or json", "table", "json")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if err := output.check(); err != nil {
			return err
		}
		if len(args) == 0 {
			return p.listReasons(all, output.format)
		}
		for _, r := range all {
			if strings.EqualFold(args[0], r.Code) || strings.EqualFold(args[0], r.Name) {
				return p.showReason(r, output.format)
			}
		}
		return unknown("reason", args[0], names, invocation+" reasons")
	}
	return cmd
}

// reasonView is a reason in JSON.
type reasonView struct {
	Code    string `json:"code"`
	Name    string `json:"name"`
	Kind    string `json:"kind"`
	Meaning string `json:"meaning"`
	Remedy  string `json:"remedy"`
}

func viewReason(r injector.Reason) reasonView {
	return reasonView{r.Code, r.Name, string(r.Kind), r.Meaning, r.Remedy}
}

func (p *program) listReasons(all []injector.Reason, format string) error {
	views := make([]reasonView, 0, len(all))
	rows := [][]string{{"CODE", "NAME", "KIND", "MEANING"}}
	for _, r := range all {
		views = append(views, viewReason(r))
		rows = append(rows, []string{r.Code, r.Name, string(r.Kind), r.Meaning})
	}
	if format == "json" {
		return writeJSON(p.out, views)
	}
	return writeTable(p.out, "", rows)
}

func (p *program) showReason(r injector.Reason, format string) error {
	if format == "json" {
		return writeJSON(p.out, viewReason(r))
	}
	_, err := fmt.Fprintf(p.out, "%s (%s)\n\n%s\n\nTo change it: %s\n", r, r.Kind, r.Meaning, r.Remedy)
	return err
}

func (p *program) annotationsCommand() *cobra.Command {
	all := injector.Annotations()
	var names []string
	for _, a := range all {
		names = append(names, a.Name)
	}
	cmd := &cobra.Command{
		Use:   "annotations [NAME]",
		Short: "List the annotations for pods, or explain one",
		Long: "List the annotations that a pod's owner may use, or explain one, with or without its\n" +
			"prefix " + injector.AnnotationPrefix + ".\n\n" + exitHelp,
		Args: cobra.MaximumNArgs(1), ValidArgs: names,
	}
	output := addOutput(cmd, "`format`: table or json", "table", "json")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if err := output.check(); err != nil {
			return err
		}
		if len(args) == 0 {
			return p.listAnnotations(all, output.format)
		}
		name := strings.TrimPrefix(args[0], injector.AnnotationPrefix)
		for _, a := range all {
			if a.Name == name {
				return p.showAnnotation(a, output.format)
			}
		}
		return unknown("annotation", args[0], names, cmd.CommandPath())
	}
	return cmd
}

// annotationView is an annotation in JSON.
type annotationView struct {
	Name    string `json:"name"`
	Type    string `json:"type"`
	Setting string `json:"setting"`
	Doc     string `json:"doc"`
	Example string `json:"example"`
}

func viewAnnotation(a injector.Annotation) annotationView {
	return annotationView{injector.AnnotationPrefix + a.Name, a.Type, a.Path, a.Doc, a.Example}
}

func (p *program) listAnnotations(all []injector.Annotation, format string) error {
	views := make([]annotationView, 0, len(all))
	rows := [][]string{{"ANNOTATION", "EXAMPLE", "MEANING"}}
	for _, a := range all {
		views = append(views, viewAnnotation(a))
		rows = append(rows, []string{injector.AnnotationPrefix + a.Name, a.Example, a.Doc})
	}
	if format == "json" {
		return writeJSON(p.out, views)
	}
	return writeTable(p.out, "", rows)
}

func (p *program) showAnnotation(a injector.Annotation, format string) error {
	if format == "json" {
		return writeJSON(p.out, viewAnnotation(a))
	}
	if _, err := fmt.Fprintf(p.out, "%s%s: %q\n\n%s\n\n", injector.AnnotationPrefix, a.Name, a.Example, a.Doc); err != nil {
		return err
	}
	return writeTable(p.out, "", [][]string{{"TYPE", a.Type}, {"SETTING", a.Path}})
}
