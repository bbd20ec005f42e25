package main

import (
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/cobra"

	"github.com/pillion-mesh/pillion/mesh"
)

func (p *program) configDiffCommand(invocation string) *cobra.Command {
	var in meshInput
	cmd := &cobra.Command{
		Use:   "diff OLD NEW",
		Short: "Tell what changes between two versions of a MeshService",
		Long: "Tell what changes between two versions of a MeshService, in words: for the app, for its\n" +
			"callers, and which connections end for it. OLD and NEW are files or folders; one of\n" +
			"them may be -, standard input. With several MeshServices those of the same namespace\n" +
			"and name are compared.\n\n" + exitHelp,
		Example: examples(invocation,
			"config diff checkout.yaml new.yaml", "two files",
			"config diff <(git show main:mesh.yaml) mesh.yaml", "what a change would do"),
		Args: cobra.ExactArgs(2),
		RunE: func(_ *cobra.Command, args []string) error { return p.diffMesh(args[0], args[1], in.namespace) },
	}
	in.addNamespace(cmd)
	return cmd
}

func (p *program) diffMesh(old, now, namespace string) error {
	if old == "-" && now == "-" {
		return errors.New("both are -, and standard input can be read once")
	}
	var sides [2]map[string]*mesh.Service
	for n, file := range []string{old, now} {
		loaded, err := p.loadMesh([]string{file}, namespace)
		if err != nil {
			return err
		}
		if err := loaded.invalid(); err != nil {
			return err
		}
		sides[n] = map[string]*mesh.Service{}
		for _, d := range loaded.documents {
			sides[n][d.service.Namespace+"/"+d.service.Name] = d.service
		}
	}
	names := make([]string, 0, len(sides[0]))
	for _, side := range sides {
		for name := range side {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		p.diffService(name, sides[0][name], sides[1][name])
	}
	return nil
}

// diffService tells of one; nil is one that is not there.
func (p *program) diffService(name string, old, now *mesh.Service) {
	fmt.Fprintf(p.out, "MeshService %s", name)
	switch {
	case old == nil:
		fmt.Fprintln(p.out, " is new")
		old = passthrough(now)
	case now == nil:
		fmt.Fprintln(p.out, " is gone: everything is passed through")
		now = passthrough(old)
	default:
		fmt.Fprintln(p.out)
	}
	changes := mesh.Diff(old, now)
	for _, change := range changes {
		fmt.Fprintf(p.out, "  %s\n", change)
	}
	if len(changes) == 0 {
		fmt.Fprintln(p.out, "  nothing changes")
	}
}

// passthrough asks for nothing.
func passthrough(like *mesh.Service) *mesh.Service {
	return &mesh.Service{Name: like.Name, Namespace: like.Namespace, Statistics: like.Statistics}
}
