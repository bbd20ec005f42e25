package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pillion-mesh/pillion/bootstrap"
)

func (p *program) renderCommand(invocation string) *cobra.Command {
	var in meshInput
	folder := ""
	cmd := &cobra.Command{
		Use:   "render -f FILE [-o FOLDER]",
		Short: "Write what pods are given for a MeshService",
		Long: "Write what pods are given for a MeshService: the generation, as the controller stores it,\n" +
			"and the files that Envoy has with it in a pod with the defaults. In FOLDER each\n" +
			"MeshService has a folder NAMESPACE/NAME; merged.json in it is all of them in one, for\n" +
			"`envoy --mode validate`. Without a folder the generation alone is printed.\n\n" + exitHelp,
		Example: examples(invocation,
			"config render -f checkout.yaml", "the generation",
			"config render -f deploy/ -o out", "everything, for each MeshService in a folder"),
		Args: filesByFlag,
		RunE: func(*cobra.Command, []string) error { return p.render(&in, folder) },
	}
	in.addFlags(cmd)
	cmd.Flags().StringVarP(&folder, "output-folder", "o", "", "`folder` to write to (default: print the generation)")
	return cmd
}

func (p *program) render(in *meshInput, folder string) error {
	loaded, err := p.loadMesh(in.files, in.namespace)
	if err != nil {
		return err
	}
	if err := loaded.none(in.files...); err != nil {
		return err
	}
	if err := loaded.invalid(); err != nil {
		return err
	}
	if folder == "" && len(loaded.documents) > 1 {
		return fmt.Errorf("there are %d MeshServices: name a folder for what is rendered with -o FOLDER", len(loaded.documents))
	}
	for _, d := range loaded.documents {
		to := filepath.Join(folder, d.service.Namespace, d.service.Name)
		g, files, err := rendered(d.service)
		if err != nil {
			return findings{fmt.Errorf("%s: %w", d.title(), err)}
		}
		sealed, err := g.Seal()
		if err != nil {
			return err
		}
		if folder == "" {
			_, err := fmt.Fprintf(p.out, "%s\n", sealed)
			return err
		}
		merged, err := bootstrap.Merged(files)
		if err != nil {
			return err
		}
		files = append(files, bootstrap.File{Name: bootstrap.GenerationFile, Content: sealed}, bootstrap.File{Name: "merged.json", Content: merged})
		if err := writeFiles(to, files); err != nil {
			return err
		}
		fmt.Fprintf(p.out, "%s: generation %s, %d files in %s\n", d.title(), g.Version, len(files), to)
	}
	return nil
}

func writeFiles(folder string, files []bootstrap.File) error {
	for _, file := range files {
		path := filepath.Join(folder, file.Name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("making the folder for %s: %w", path, err)
		}
		if err := os.WriteFile(path, file.Content, 0o644); err != nil {
			return fmt.Errorf("writing what was rendered: %w", err)
		}
	}
	return nil
}

// invalid is all that is wrong with the documents, for commands that need valid
// ones, each once.
func (f *meshFiles) invalid() error {
	var lines []string
	for _, b := range f.broken {
		lines = append(lines, b.Error())
	}
	places := map[string]string{}
	for _, d := range f.documents {
		for _, problem := range d.problems {
			line := d.object.Line
			if problem.Path != "" {
				line = d.object.LineOf(problem.Path)
			}
			lines = append(lines, fmt.Sprintf("%s:%d: %s: %s", d.object.File, line, d.object, problem))
		}
		if d.service == nil {
			continue
		}
		name := d.service.Namespace + "/" + d.service.Name
		if first, again := places[name]; again {
			lines = append(lines, d.title()+" is the same MeshService as at "+first)
		}
		places[name] = d.object.Place()
	}
	if len(lines) == 0 {
		return nil
	}
	return findings{errors.New(strings.Join(lines, "\n"))}
}
