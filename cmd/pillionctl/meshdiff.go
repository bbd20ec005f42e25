package main

import (
	"errors"
	"fmt"
	"os"
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
			"them may be -, standard input, or /dev/null where there is none yet. With several\n" +
			"MeshServices those of the same namespace and name are compared.\n\n" + exitHelp,
		Example: examples(invocation,
			"config diff checkout.yaml new.yaml", "two files",
			"config diff <(git show main:mesh.yaml) mesh.yaml", "what a change would do"),
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) != 2 {
				return fmt.Errorf("give OLD and NEW, two files or folders; got %d", len(args))
			}
			return nil
		},
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
		if !absent(file) {
			if err := loaded.none(file); err != nil {
				return err
			}
		}
		sides[n] = map[string]*mesh.Service{}
		for _, d := range loaded.documents {
			sides[n][d.service.Namespace+"/"+d.service.Name] = d.service
		}
	}
	if len(sides[0])+len(sides[1]) == 0 {
		return fmt.Errorf("there is no MeshService in %s and %s", old, now)
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

// absent says whether a side may have no MeshService: a folder before its first one, and
// what git and diff name for a file that is not there. An empty file or pipe is mostly
// that of a command that has failed.
func absent(file string) bool {
	info, err := os.Stat(file)
	return file == os.DevNull || err == nil && info.IsDir()
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
