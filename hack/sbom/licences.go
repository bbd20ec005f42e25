package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/google/licensecheck"
)

// accepted are the licences of what may be linked into Pillion: our own, and those
// that ask for no more than to be named. Another one is for people to decide on, not
// for a tool.
func accepted() []string { return []string{"Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "ISC", "MIT"} }

// licences finds the licences of modules in the folders where Go keeps them.
type licences struct {
	folders map[string]string // by path@version
}

func newLicences(ctx context.Context) (*licences, error) {
	list := exec.CommandContext(ctx, "go", "list", "-m", "-f", "{{.Path}}@{{.Version}} {{.Dir}}", "all")
	var stderr bytes.Buffer
	list.Stderr = &stderr
	output, err := list.Output()
	if err != nil {
		return nil, fmt.Errorf("listing the modules: %w\n%s", err, stderr.Bytes())
	}
	l := &licences{folders: map[string]string{}}
	for line := range strings.Lines(string(output)) {
		module, folder, _ := strings.Cut(strings.TrimSpace(line), " ")
		l.folders[module] = folder
	}
	return l, nil
}

// of returns the SPDX identifiers of a module's licences. One that nobody accepted,
// and none at all, is an error.
func (l *licences) of(path, version string) ([]string, error) {
	module := path + "@" + version
	folder := l.folders[module]
	if folder == "" {
		return nil, fmt.Errorf("the source of %s is not here; `go mod download` brings it", module)
	}
	ids, err := recognise(folder)
	if err != nil {
		return nil, fmt.Errorf("the licence of %s: %w", module, err)
	}
	for _, id := range ids {
		if !slices.Contains(accepted(), id) {
			return nil, fmt.Errorf("the licence of %s is %s, which nobody has accepted: see `accepted` in hack/sbom/licences.go", module, id)
		}
	}
	return ids, nil
}

// recognise reads the licence files in a module's folder.
func recognise(folder string) ([]string, error) {
	files, err := os.ReadDir(folder)
	if err != nil {
		return nil, err
	}
	var ids []string
	for _, file := range files {
		name := strings.ToUpper(file.Name())
		if file.IsDir() || !strings.HasPrefix(name, "LICENSE") && !strings.HasPrefix(name, "LICENCE") && !strings.HasPrefix(name, "COPYING") {
			continue
		}
		text, err := os.ReadFile(filepath.Join(folder, file.Name()))
		if err != nil {
			return nil, err
		}
		for _, match := range licensecheck.Scan(text).Match {
			if !match.IsURL {
				ids = append(ids, match.ID)
			}
		}
	}
	if len(ids) == 0 {
		return nil, errors.New("there is no licence file whose text is known")
	}
	slices.Sort(ids)
	return slices.Compact(ids), nil
}
