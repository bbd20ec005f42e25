package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// document is a CycloneDX document, as far as it is looked into here: hack/sbom writes
// those of programs.
type document struct {
	BOMFormat   string            `json:"bomFormat"`
	SpecVersion string            `json:"specVersion"`
	Version     int               `json:"version"`
	Metadata    metadata          `json:"metadata"`
	Components  []json.RawMessage `json:"components"`
}

type metadata struct {
	Component json.RawMessage `json:"component"`
}

// component is a part that no program's document has.
type component struct {
	Type    string `json:"type"`
	Name    string `json:"name"`
	Version string `json:"version"`
	PURL    string `json:"purl"`
	Hashes  []hash `json:"hashes,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

// describe writes what an image is made of beside its archive: its programs, what these
// are made of, each once, and Debian's packages.
func (m *maker) describe(c content, architecture, digest string) error {
	image := component{
		Type: "container", Name: c.name, Version: m.version, Hashes: []hash{{"SHA-256", strings.TrimPrefix(digest, "sha256:")}},
		PURL: fmt.Sprintf("pkg:oci/%s@%s?arch=%s&tag=%s", c.name, digest, architecture, m.version),
	}
	itself, err := json.Marshal(image)
	if err != nil {
		return err
	}
	d := document{BOMFormat: "CycloneDX", SpecVersion: "1.6", Version: 1, Metadata: metadata{itself}}
	seen := map[string]bool{}
	add := func(part json.RawMessage) {
		if !seen[string(part)] {
			seen[string(part)] = true
			d.Components = append(d.Components, part)
		}
	}
	for _, program := range c.programs {
		of, err := readDocument(filepath.Join(m.programs, architecture, program+".cdx.json"))
		if err != nil {
			return fmt.Errorf("reading what %s is made of, as hack/sbom writes it: %w", program, err)
		}
		for _, part := range slices.Concat([]json.RawMessage{of.Metadata.Component}, of.Components) {
			add(part)
		}
	}
	if c.base != "" {
		packages, err := debianPackages(filepath.Join(c.base, "packages.txt"), architecture)
		if err != nil {
			return fmt.Errorf("reading which packages iptables is made of: %w", err)
		}
		for _, part := range packages {
			add(part)
		}
	}
	text, err := json.MarshalIndent(&d, "", "  ")
	if err != nil {
		return fmt.Errorf("encoding what the image is made of: %w", err)
	}
	return os.WriteFile(filepath.Join(m.output, c.name+"-"+architecture+".cdx.json"), append(text, '\n'), 0o644) //nolint:gosec // for everybody
}

func readDocument(file string) (*document, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var d document
	return &d, json.Unmarshal(text, &d)
}

// debianPackages reads lines of "package version architecture hash".
func debianPackages(file, architecture string) ([]json.RawMessage, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	var packages []json.RawMessage
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) != 4 || fields[2] != architecture {
			continue
		}
		part, err := json.Marshal(component{
			Type: "library", Name: fields[0], Version: fields[1], Hashes: []hash{{"SHA-256", fields[3]}},
			PURL: fmt.Sprintf("pkg:deb/debian/%s@%s?arch=%s", fields[0], fields[1], architecture),
		})
		if err != nil {
			return nil, err
		}
		packages = append(packages, part)
	}
	return packages, nil
}
