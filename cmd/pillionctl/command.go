package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/nearest"
)

// command is the tree of commands.
func (p *program) command() *cobra.Command {
	name, invocation := p.name, p.name
	if plugin, ok := strings.CutPrefix(name, "kubectl-"); ok {
		invocation = "kubectl " + plugin
	}
	root := &cobra.Command{
		Use:   name,
		Short: "Show and explain what Pillion does to a pod, from manifests or in a cluster",
		Long: "Show and explain what Pillion does to a pod, with the same code as the webhook's. Most\n" +
			"commands need manifests alone; check, diff, status, enable, disable and why KIND/NAME ask a\n" +
			"cluster, with your own rights.\n\n" + exitHelp,
		Example: examples(invocation,
			"why -f web.yaml", "is it injected, why, and with which values",
			"inject -f web.yaml --diff", "what would change",
			"inject -f web.yaml | kubectl apply -f -", "without a webhook"),
		Version:       injector.Version,
		SilenceErrors: true, SilenceUsage: true,
		// Args is left to cobra, which names the nearest command for a wrong one.
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.Annotations = map[string]string{cobra.CommandDisplayNameAnnotation: invocation}
	root.SetIn(p.in)
	root.SetOut(p.out)
	root.SetErr(p.errors)
	root.SetVersionTemplate("{{.Version}}\n")
	root.SetFlagErrorFunc(flagError)
	color := "auto"
	root.PersistentFlags().StringVar(&color, "color", color, "`when` to color the output: auto (on a terminal, unless NO_COLOR is set), always or never")
	root.PersistentPreRunE = func(*cobra.Command, []string) error {
		switch color {
		case "auto":
		case "always", "never":
			p.color = color == "always"
		default:
			return fmt.Errorf("--color is %q; accepted is one of auto, always, never", color)
		}
		return nil
	}
	root.AddCommand(
		p.injectCommand(invocation), p.whyCommand(invocation), p.configCommand(invocation),
		p.checkCommand(invocation), p.diffCommand(invocation), p.switchCommand(invocation, true), p.switchCommand(invocation, false), p.statusCommand(invocation), p.annotationsCommand(), p.reasonsCommand(invocation), p.versionCommand(), p.docsCommand(),
	)
	complete(root, "color", "auto", "always", "never")
	return root
}

// flagError says what is wrong with a flag, and where the flags are.
func flagError(cmd *cobra.Command, err error) error {
	// What is not known about a misspelled command are its flags, too.
	if args := cmd.Flags().Args(); cmd.HasSubCommands() && len(args) > 0 {
		if wrong := cmd.ValidateArgs(args); wrong != nil {
			return wrong
		}
	}
	if absent := (*pflag.NotExistError)(nil); errors.As(err, &absent) {
		var names []string
		cmd.Flags().VisitAll(func(f *pflag.Flag) { names = append(names, f.Name) })
		if near, ok := nearest.Name(absent.GetSpecifiedName(), names); ok {
			return fmt.Errorf("%w; did you mean --%s?", err, near)
		}
	}
	return fmt.Errorf("%w; see `%s --help`", err, cmd.CommandPath())
}

// filesByFlag is for commands whose files are named by -f alone.
func filesByFlag(cmd *cobra.Command, args []string) error {
	if len(args) == 0 {
		return nil
	}
	return fmt.Errorf("what is %q? Files are named by a flag: `%s -f %s`", args[0], cmd.CommandPath(), args[0])
}

// examples are lines of a command with a comment each.
func examples(invocation string, pairs ...string) string {
	var lines []string
	for n := 0; n < len(pairs); n += 2 {
		lines = append(lines, "  # "+pairs[n+1]+"\n  "+invocation+" "+pairs[n])
	}
	return strings.Join(lines, "\n")
}

// complete offers the values of a flag to the shell.
func complete(cmd *cobra.Command, flag string, values ...string) {
	// It fails for a flag that does not exist, which the tests would see.
	if err := cmd.RegisterFlagCompletionFunc(flag, cobra.FixedCompletions(values, cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err)
	}
}

func (p *program) versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			_, err := fmt.Fprintln(p.out, injector.Version)
			return err
		},
	}
}

// outputFlag is -o with the formats that a command has; the first is the default.
type outputFlag struct {
	format  string
	formats []string
}

func addOutput(cmd *cobra.Command, usage string, formats ...string) *outputFlag {
	o := &outputFlag{format: formats[0], formats: formats}
	cmd.Flags().StringVarP(&o.format, "output", "o", o.format, usage)
	complete(cmd, "output", formats...)
	return o
}

func (o *outputFlag) check() error {
	if slices.Contains(o.formats, o.format) {
		return nil
	}
	return fmt.Errorf("--output is %q; accepted is one of %s", o.format, strings.Join(o.formats, ", "))
}
