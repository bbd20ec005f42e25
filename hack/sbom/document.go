package main

import (
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// document is the part of a CycloneDX document that is of use here.
type document struct {
	BOMFormat   string      `json:"bomFormat"`
	SpecVersion string      `json:"specVersion"`
	Version     int         `json:"version"`
	Metadata    metadata    `json:"metadata"`
	Components  []component `json:"components"`
}

type metadata struct {
	Component component `json:"component"`
}

type component struct {
	Type       string          `json:"type"`
	Name       string          `json:"name"`
	Version    string          `json:"version"`
	PURL       string          `json:"purl"`
	Hashes     []hash          `json:"hashes,omitempty"`
	Licenses   []licenseChoice `json:"licenses,omitempty"`
	Properties []property      `json:"properties,omitempty"`
}

type hash struct {
	Algorithm string `json:"alg"`
	Content   string `json:"content"`
}

type licenseChoice struct {
	License license `json:"license"`
}

type license struct {
	ID string `json:"id"`
}

type property struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// describe reads what a built program says of itself.
func describe(program, version string, of *licences) (*document, error) {
	info, err := buildinfo.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("reading what %s is made of: %w", program, err)
	}
	content, err := os.ReadFile(program)
	if err != nil {
		return nil, fmt.Errorf("hashing %s: %w", program, err)
	}
	sum := sha256.Sum256(content)
	name := filepath.Base(program)
	d := &document{BOMFormat: "CycloneDX", SpecVersion: "1.6", Version: 1}
	d.Metadata.Component = component{
		Type: "application", Name: name, Version: version,
		PURL:     purl(info.Main.Path, version) + "#cmd/" + name,
		Hashes:   []hash{{"SHA-256", hex.EncodeToString(sum[:])}},
		Licenses: choices([]string{"Apache-2.0"}),
	}
	d.Components = append(d.Components, component{
		Type: "library", Name: "std", Version: info.GoVersion,
		PURL: purl("std", strings.TrimPrefix(info.GoVersion, "go")), Licenses: choices([]string{"BSD-3-Clause"}),
	})
	for _, module := range info.Deps {
		if module.Replace != nil {
			module = module.Replace
		}
		ids, err := of.of(module.Path, module.Version)
		if err != nil {
			return nil, err
		}
		d.Components = append(d.Components, component{
			Type: "library", Name: module.Path, Version: module.Version, PURL: purl(module.Path, module.Version),
			Licenses: choices(ids), Properties: []property{{"go:sum", module.Sum}},
		})
	}
	return d, nil
}

func purl(path, version string) string { return "pkg:golang/" + path + "@" + version }

func choices(ids []string) []licenseChoice {
	var all []licenseChoice
	for _, id := range ids {
		all = append(all, licenseChoice{license{id}})
	}
	return all
}
