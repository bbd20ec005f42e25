package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pillion-mesh/pillion/nearest"
)

func (p *program) configCommand(invocation string) *cobra.Command {
	cmd := &cobra.Command{
		Use: "config", Short: "Check and explain an InjectorConfig; check, render and compare MeshServices",
		// Who looks for these above it is shown the way.
		SuggestFor: []string{"lint", "render", "explain", "validate"},
		Args: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return nil
			}
			var names []string
			for _, c := range cmd.Commands() {
				names = append(names, c.Name())
			}
			if near, ok := nearest.Name(args[0], names); ok {
				return fmt.Errorf("unknown command %q for %q; did you mean %s?", args[0], cmd.CommandPath(), near)
			}
			return fmt.Errorf("unknown command %q for %q; known are %s", args[0], cmd.CommandPath(), strings.Join(names, ", "))
		},
		RunE: func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(p.validateCommand(invocation), p.explainCommand(invocation), p.renderCommand(invocation), p.lintCommand(invocation), p.configDiffCommand(invocation))
	return cmd
}

func (p *program) validateCommand(invocation string) *cobra.Command {
	return &cobra.Command{
		Use:   "validate FILE...",
		Short: "Check InjectorConfig files, as strictly as the webhook does",
		Long: "Check InjectorConfig files, as strictly as the webhook does. Every mistake is told, with\n" +
			"the path of its field. - is standard input.\n\n" + exitHelp,
		Example: examples(invocation,
			"config validate injector.yaml", "before it goes to the cluster"),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) == 0 {
				return errors.New("no configuration: name at least one FILE, or - for standard input")
			}
			return nil
		},
		RunE: func(_ *cobra.Command, args []string) error { return p.validate(args) },
	}
}

// validate looks at every file, and fails with the worst that it found.
func (p *program) validate(files []string) error {
	bad := 0
	for _, file := range files {
		inject, err := p.loadConfig(file)
		found := findings{}
		switch {
		case errors.As(err, &found):
			bad++
			fmt.Fprintln(p.errors, found)
		case err != nil:
			return err
		default:
			fmt.Fprintf(p.out, "%s: valid, configuration hash %s\n", file, inject.ConfigHash())
		}
	}
	if bad > 0 {
		return findings{fmt.Errorf("%d of %d configurations are not valid", bad, len(files))}
	}
	return nil
}
