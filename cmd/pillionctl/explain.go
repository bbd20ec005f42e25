package main

import (
	"bytes"
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
)

// meshServicePageURL is where every field of a MeshService is described.
const meshServicePageURL = "https://github.com/pillion-mesh/pillion/blob/main/docs/reference/meshservice.md"

func (p *program) explainCommand(invocation string) *cobra.Command {
	var paths []string
	for _, f := range v1alpha1.Fields() {
		paths = append(paths, f.Path)
	}
	cmd := &cobra.Command{
		Use:   "explain [PATH]",
		Short: "Explain the fields of an InjectorConfig",
		Long: "Explain the fields of an InjectorConfig: one with those below it, or all of them in a table.\n" +
			"What stands below namespaces[] is explained where it stands at the top.\n\n" + exitHelp,
		Example: examples(invocation,
			"config explain", "all fields, with their defaults",
			"config explain lifecycle.drainTime", "one field, and the annotation that sets it"),
		Args: cobra.MaximumNArgs(1), ValidArgs: paths,
	}
	output := addOutput(cmd, "`format`: table or json", "table", "json")
	cmd.RunE = func(_ *cobra.Command, args []string) error {
		if err := output.check(); err != nil {
			return err
		}
		path := ""
		if len(args) == 1 {
			path = args[0]
		}
		fields, err := v1alpha1.Explain(path)
		switch {
		case err != nil && ofMeshService(path):
			return findings{fmt.Errorf("explaining %q: that is MeshService's, of which %s has all fields, and `kubectl explain %s` where the cluster has it", path, meshServicePageURL, kubectlPath(path))}
		case err != nil:
			return findings{fmt.Errorf("%w (`%s config explain` lists all fields)", err, invocation)}
		case output.format == "json":
			return writeJSON(p.out, fields)
		case path == "":
			return writeTable(p.out, "", fieldRows(fields))
		}
		return p.explainField(fields[0], fields[1:])
	}
	return cmd
}

// ofMeshService says whether a path is asked for that the other document has.
func ofMeshService(path string) bool {
	first, _, _ := strings.Cut(strings.TrimPrefix(kubectlPath(path), "meshservice.spec."), ".")
	return slices.Contains([]string{"meshservice", "inbound", "egress", "undeclaredEgress", "statistics"}, first)
}

// kubectlPath is how kubectl names a field of a MeshService.
func kubectlPath(path string) string {
	path = brackets.ReplaceAllString(path, "")
	if strings.EqualFold(path, "spec") || strings.EqualFold(path, v1alpha1.KindMeshService) {
		return "meshservice.spec"
	}
	for _, prefix := range []string{"MeshService.", "meshservice.", "spec."} {
		path = strings.TrimPrefix(path, prefix)
	}
	return "meshservice.spec." + path
}

var brackets = regexp.MustCompile(`\[[^\]]*\]`)

func fieldRows(fields []v1alpha1.Field) [][]string {
	rows := [][]string{{"PATH", "TYPE", "DEFAULT"}}
	for _, f := range fields {
		value := f.Default
		if f.Required {
			value = "(required)"
		}
		rows = append(rows, []string{f.Path, f.Type, value})
	}
	return rows
}

// explainField tells everything about one field, and what is below it.
func (p *program) explainField(f v1alpha1.Field, below []v1alpha1.Field) error {
	var out bytes.Buffer
	fmt.Fprintf(&out, "%s\n\n", p.paint("1", f.Path))
	writeWrapped(&out, "", strings.Fields(f.Doc), " ")
	rows := [][]string{{"TYPE", f.Type}}
	switch {
	case f.Required:
		rows = append(rows, []string{"REQUIRED", "yes"})
	case f.Type != "object":
		rows = append(rows, []string{"DEFAULT", cmp.Or(f.Default, "none")})
	}
	if len(f.Enum) > 0 {
		rows = append(rows, []string{"ACCEPTED", strings.Join(f.Enum, ", ")})
	}
	for _, a := range injector.Annotations() {
		if a.Path == f.Path {
			rows = append(rows, []string{"ANNOTATION", injector.AnnotationPrefix + a.Name})
		}
	}
	out.WriteByte('\n')
	if err := writeTable(&out, "", rows); err != nil {
		return err
	}
	if len(below) > 0 {
		out.WriteByte('\n')
		if err := writeTable(&out, "", fieldRows(below)); err != nil {
			return err
		}
	}
	_, err := p.out.Write(out.Bytes())
	return err
}
