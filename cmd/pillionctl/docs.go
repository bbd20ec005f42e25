package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pillion-mesh/pillion/injector"
)

//go:generate go run . docs ../../docs/reference

const generated = "<!-- Written by `make generate`; edit the Go code that it comes from instead. -->\n\n"

// docsCommand writes the reference pages that come from this program and from the
// injector's tables. It is hidden: it is for those who work on Pillion.
func (p *program) docsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "docs FOLDER", Short: "Write the reference pages", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			for name, text := range pages() {
				if err := os.WriteFile(filepath.Join(args[0], name), []byte(text), 0o644); err != nil {
					return fmt.Errorf("writing a reference page: %w", err)
				}
			}
			return nil
		},
	}
}

// pages are the reference pages by file name.
func pages() map[string]string {
	return map[string]string{
		"pillionctl.md":  commandsPage(),
		"reasons.md":     reasonsPage(),
		"annotations.md": annotationsPage(),
		"checks.md":      checksPage(),
	}
}

func commandsPage() string {
	p := program{name: "pillionctl"}
	root := p.command()
	root.InitDefaultCompletionCmd()
	var page strings.Builder
	page.WriteString(generated + "# pillionctl\n\n")
	writeCommand(&page, root)
	page.WriteString("\n`pillionctl COMMAND --help` prints the same. Installed in PATH under the name kubectl-pillion, it is `kubectl pillion` as well;\nwith `hack/kubectl_complete-pillion` beside it, kubectl completes its command lines, with names from the cluster.\n")
	for _, cmd := range root.Commands() {
		writeCommands(&page, cmd)
	}
	return page.String()
}

func writeCommands(page *strings.Builder, cmd *cobra.Command) {
	if cmd.Hidden || cmd.Name() == "help" {
		return
	}
	fmt.Fprintf(page, "\n## %s\n\n", cmd.CommandPath())
	writeCommand(page, cmd)
	if cmd.Name() == "completion" {
		return // its commands are one for each shell
	}
	for _, child := range cmd.Commands() {
		writeCommands(page, child)
	}
}

func writeCommand(page *strings.Builder, cmd *cobra.Command) {
	text := cmd.Long
	if text == "" {
		text = cmd.Short
	}
	if cmd.HasParent() {
		text = strings.TrimSuffix(text, exitHelp) // once on the page is enough
	}
	fmt.Fprintf(page, "```text\n%s\n\n%s\n```\n\n", strings.TrimSpace(text), cmd.UseLine())
	if cmd.HasExample() {
		fmt.Fprintf(page, "```sh\n%s\n```\n\n", unindent(cmd.Example))
	}
	cmd.InitDefaultHelpFlag()
	cmd.InitDefaultVersionFlag()
	if flags := cmd.LocalFlags(); flags.HasAvailableFlags() {
		fmt.Fprintf(page, "```text\n%s```\n", flags.FlagUsages())
	}
}

func unindent(text string) string {
	return strings.ReplaceAll(strings.TrimPrefix(text, "  "), "\n  ", "\n")
}

func reasonsPage() string {
	var page strings.Builder
	page.WriteString(generated + "# Reasons\n\n" +
		"Every decision about a pod and every warning has one of these codes: in the message that kubectl\n" +
		"prints, in the audit log, in the webhook's metrics and log, and in `pillionctl`. A code never gets\n" +
		"another meaning.\n")
	kind := injector.ReasonKind("")
	for _, r := range injector.Reasons() {
		if r.Kind != kind {
			kind = r.Kind
			fmt.Fprintf(&page, "\n## %s\n", kindTitle(kind))
		}
		fmt.Fprintf(&page, "\n### <a id=\"%s\"></a>%s\n\n%s\n\nTo change it: %s\n", r.Anchor(), r, markdown(r.Meaning), markdown(r.Remedy))
	}
	return page.String()
}

func kindTitle(kind injector.ReasonKind) string {
	switch kind {
	case injector.KindInject:
		return "Why a pod gets a sidecar"
	case injector.KindSkip:
		return "Why a pod is left as it is"
	case injector.KindRefuse:
		return "Why a pod is refused"
	case injector.KindWarning:
		return "What an owner is warned of"
	}
	return "Why a request got no verdict"
}

func annotationsPage() string {
	var page strings.Builder
	page.WriteString(generated + "# Annotations\n\n" +
		"What a pod's owner can set, on the pod template of a workload. The configuration says which of these\n" +
		"may be used and within which bounds (`annotations`). A value that cannot be read refuses the pod; a\n" +
		"`" + injector.AnnotationPrefix + "` annotation that is not here is warned of.\n\n" +
		"| Annotation | Value | Example | Meaning | Setting |\n|---|---|---|---|---|\n")
	for _, a := range injector.Annotations() {
		fmt.Fprintf(&page, "| `%s%s` | %s | `%s` | %s | `%s` |\n", injector.AnnotationPrefix, a.Name, markdown(a.Type), a.Example, markdown(a.Doc), a.Path)
	}
	fmt.Fprintf(&page, "\nPillion itself writes `%s`: what was added to the pod, and what was changed from which value, as JSON.\n", injector.StatusAnnotation)
	return page.String()
}

// markdown keeps a text from being taken for syntax.
func markdown(text string) string {
	return strings.NewReplacer("|", `\|`, "*", `\*`, "_", `\_`, "<", `\<`).Replace(text)
}
