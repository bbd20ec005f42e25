package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/manifest"
)

// input is what the commands about manifests are given.
type input struct {
	files           []string
	configFile      string
	namespace       string
	namespaceLabels map[string]string
}

func (i *input) addFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringArrayVarP(&i.files, "filename", "f", nil, "`file` with manifests, YAML or JSON; - for standard input; may be given many times")
	flags.StringVar(&i.configFile, "config", "", "`file` with an InjectorConfig (default: the defaults)")
	flags.StringVarP(&i.namespace, "namespace", "n", "default", "`namespace` of objects that do not name one")
	flags.StringToStringVar(&i.namespaceLabels, "namespace-labels", nil, "labels of namespaces that the files have no Namespace object of, as `key=value,...` (default: not known, and taken as opted in)")
	flags.Lookup("namespace-labels").DefValue = "" // the usage says it
}

// loaded is the input, read.
type loaded struct {
	injector *injector.Injector
	streams  []*manifest.Stream
	// labels of namespaces by name.
	labels map[string]map[string]string
	// texts of the files as they are, by stream.
	texts []string
}

// load reads all files before anything is done with one of them.
func (p *program) load(i *input) (*loaded, error) {
	if len(i.files) == 0 {
		return nil, errors.New("no manifests: give a file with -f FILE, or - for standard input")
	}
	inject, err := p.loadConfig(i.configFile)
	if err != nil {
		return nil, err
	}
	l := &loaded{injector: inject, labels: map[string]map[string]string{}}
	stdin := false
	for _, file := range i.files {
		if file == "-" && stdin {
			return nil, errors.New("-f - is given twice, and standard input can be read once")
		}
		stdin = stdin || file == "-"
		name, data, err := p.read(file)
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(data)) == 0 {
			// Most often the command before the pipe has failed.
			return nil, fmt.Errorf("%s is empty: there are no manifests in it", name)
		}
		stream, err := manifest.Read(name, data)
		if err != nil {
			return nil, findings{err}
		}
		l.streams = append(l.streams, stream)
		l.texts = append(l.texts, string(data))
		for _, object := range stream.Objects() {
			if object.Kind == "Namespace" && object.APIVersion == "v1" {
				l.labels[object.Name] = map[string]string{}
				for key, value := range object.Labels {
					l.labels[object.Name][key] = value
				}
			}
		}
	}
	return l, nil
}

// read returns the content of a file and its name for messages.
func (p *program) read(file string) (string, []byte, error) {
	if file == "-" {
		data, err := io.ReadAll(p.in)
		if err != nil {
			return "", nil, fmt.Errorf("reading standard input: %w", err)
		}
		return "stdin", data, nil
	}
	data, err := os.ReadFile(file)
	if err != nil {
		if info, statErr := os.Stat(file); statErr == nil && info.IsDir() {
			return "", nil, fmt.Errorf("%s is a folder: name the files in it, each with -f", file)
		}
		// *PathError says what was done to which file.
		return "", nil, fmt.Errorf("cannot %w", err)
	}
	return file, data, nil
}

// loadConfig reads a configuration; the defaults where no file is named.
func (p *program) loadConfig(file string) (*injector.Injector, error) {
	config := v1alpha1.DefaultConfig()
	if file != "" {
		name, data, err := p.read(file)
		if err != nil {
			return nil, err
		}
		if config, err = v1alpha1.Decode(data); err != nil {
			return nil, findings{located(name, err)}
		}
	}
	inject, err := injector.New(config)
	if err != nil {
		return nil, findings{fmt.Errorf("%s: %w", file, err)}
	}
	return inject, nil
}

// located puts the file's name before each problem.
func located(file string, err error) error {
	var problems v1alpha1.Problems
	if !errors.As(err, &problems) {
		return fmt.Errorf("%s: %w", file, err)
	}
	lines := make([]string, len(problems))
	for n, problem := range problems {
		lines[n] = file + ": " + problem.String()
	}
	return errors.New(strings.Join(lines, "\n"))
}

// namespaceOf is what is known about the namespace of an object.
func (l *loaded) namespaceOf(object *manifest.Object, i *input) injector.Namespace {
	name := object.Namespace
	if name == "" {
		name = i.namespace
	}
	labels, known := l.labels[name]
	if !known && i.namespaceLabels != nil {
		labels = i.namespaceLabels
	}
	return injector.Namespace{Name: name, Labels: labels}
}
