package main

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
)

// envoyProgram is an Envoy on this machine, or why there is none.
type envoyProgram struct {
	path, version string
	absent        string
}

// findEnvoy looks for the program that is named, or for envoy in PATH where none is.
func findEnvoy(ctx context.Context, named string) (*envoyProgram, error) {
	if named == "none" {
		return &envoyProgram{absent: "not asked: --envoy none"}, nil
	}
	path, err := exec.LookPath(cmp.Or(named, "envoy"))
	if err != nil && named == "" {
		return &envoyProgram{absent: "not asked: there is no envoy in PATH; --envoy names one"}, nil
	}
	if err != nil {
		return nil, fmt.Errorf("--envoy is %q, which is no program: %w", named, err)
	}
	output, err := exec.CommandContext(ctx, path, "--version").Output()
	version := envoyVersion.FindSubmatch(output)
	if err != nil {
		return nil, fmt.Errorf("running %s --version: %w", path, err)
	}
	if version == nil {
		return nil, fmt.Errorf("%s --version answers %.100q, which is not what Envoy says", path, output)
	}
	return &envoyProgram{path: path, version: string(version[1])}, nil
}

// envoyVersion is in "envoy  version: COMMIT/1.40.0/Clean/RELEASE/BoringSSL".
var envoyVersion = regexp.MustCompile(`version: [0-9a-f]+/([^/]+)/`)

// validate returns what Envoy finds wrong with a configuration in one file; empty
// where that is nothing, or where there is no Envoy.
func (e *envoyProgram) validate(ctx context.Context, merged []byte) (string, error) {
	if e.path == "" {
		return "", nil
	}
	folder, err := os.MkdirTemp("", "pillionctl-")
	if err != nil {
		return "", fmt.Errorf("making a folder for Envoy: %w", err)
	}
	defer os.RemoveAll(folder)
	file := filepath.Join(folder, "merged.json")
	if err := os.WriteFile(file, merged, 0o600); err != nil {
		return "", fmt.Errorf("writing what Envoy is to validate: %w", err)
	}
	command := exec.CommandContext(ctx, e.path, "--mode", "validate", "--config-path", file, "--log-level", "error")
	output, err := command.CombinedOutput()
	if err == nil {
		return "", nil
	}
	if exit := (*exec.ExitError)(nil); !errors.As(err, &exit) {
		return "", fmt.Errorf("running %s: %w", e.path, err)
	}
	return verdictOf(output), nil
}

// verdictOf is the sentence in Envoy's output: the part that says what is wrong.
func verdictOf(output []byte) string {
	for line := range bytes.Lines(output) {
		if _, sentence, found := strings.Cut(string(line), "error initializing configuration "); found {
			// It begins with the name of the file, which is no longer there.
			if _, said, found := strings.Cut(sentence, "': "); found {
				sentence = said
			}
			return strings.Join(strings.Fields(sentence), " ")
		}
	}
	return strings.TrimSpace(string(output))
}

// said is the answer in a few words.
func (e *envoyProgram) said(verdict string) string {
	switch {
	case e.absent != "":
		return e.absent
	case verdict != "":
		return "rejected by " + e.version
	default:
		return "accepted by " + e.version
	}
}
