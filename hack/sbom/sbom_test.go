package main

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPrograms: each program's document has what `go version -m` says is in it, every
// licence is one that somebody has accepted, and the same program gives the same bytes.
func TestPrograms(t *testing.T) {
	folder := t.TempDir()
	build := exec.CommandContext(t.Context(), "go", "build", "-o", folder+string(filepath.Separator), "../../cmd/...")
	if output, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	of, err := newLicences(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	programs, err := filepath.Glob(filepath.Join(folder, "*"))
	if err != nil || len(programs) < 5 {
		t.Fatalf("built %v, %v", programs, err)
	}
	for _, program := range programs {
		t.Run(filepath.Base(program), func(t *testing.T) {
			d, err := describe(program, "v1", of)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, c := range d.Components {
				if len(c.Licenses) == 0 {
					t.Errorf("%s has no licence", c.Name)
				}
				if c.Name != "std" {
					got = append(got, strings.Join([]string{c.Name, c.Version, c.Properties[0].Value}, " "))
				}
			}
			if diff := cmp.Diff(linked(t, program), got); diff != "" {
				t.Errorf("go version -m -, document +\n%s", diff)
			}
		})
	}
	if err := write(t.Context(), folder, "v1", programs[:1]); err != nil {
		t.Fatal(err)
	}
	first := read(t, programs[0]+".cdx.json")
	if err := write(t.Context(), folder, "v1", programs[:1]); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(first, read(t, programs[0]+".cdx.json")) {
		t.Error("the same program gave other bytes")
	}
}

// linked are the modules in a program, as Go's own command prints them.
func linked(t *testing.T, program string) []string {
	t.Helper()
	output, err := exec.CommandContext(t.Context(), "go", "version", "-m", program).Output()
	if err != nil {
		t.Fatal(err)
	}
	var modules []string
	for line := range strings.Lines(string(output)) {
		if fields := strings.Fields(line); len(fields) == 4 && fields[0] == "dep" {
			modules = append(modules, strings.Join(fields[1:], " "))
		}
	}
	return modules
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// TestLicences: one that nobody has accepted is an error, and so is none.
func TestLicences(t *testing.T) {
	texts := map[string]string{
		"GPL": "This program is free software: you can redistribute it and/or modify it under the terms of the GNU General Public License as published by the Free Software Foundation, either version 3 of the License, or (at your option) any later version.",
		"ISC": "Permission to use, copy, modify, and/or distribute this software for any purpose with or without fee is hereby granted, provided that the above copyright notice and this permission notice appear in all copies.\n\nTHE SOFTWARE IS PROVIDED \"AS IS\" AND THE AUTHOR DISCLAIMS ALL WARRANTIES WITH REGARD TO THIS SOFTWARE INCLUDING ALL IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS. IN NO EVENT SHALL THE AUTHOR BE LIABLE FOR ANY SPECIAL, DIRECT, INDIRECT, OR CONSEQUENTIAL DAMAGES OR ANY DAMAGES WHATSOEVER RESULTING FROM LOSS OF USE, DATA OR PROFITS, WHETHER IN AN ACTION OF CONTRACT, NEGLIGENCE OR OTHER TORTIOUS ACTION, ARISING OUT OF OR IN CONNECTION WITH THE USE OR PERFORMANCE OF THIS SOFTWARE.",
		"own": "You may look at this.",
	}
	of := &licences{folders: map[string]string{}}
	for name, text := range texts {
		folder := t.TempDir()
		if err := os.WriteFile(filepath.Join(folder, "LICENSE"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		of.folders[name+"@v1"] = folder
	}
	of.folders["none@v1"] = t.TempDir()
	for name, want := range map[string]string{"GPL": "which nobody has accepted", "own": "no licence file whose text is known", "none": "no licence file", "elsewhere": "`go mod download`"} {
		if ids, err := of.of(name, "v1"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: got %v, %v, want an error with %q", name, ids, err, want)
		}
	}
	if ids, err := of.of("ISC", "v1"); err != nil || !slices.Equal(ids, []string{"ISC"}) {
		t.Errorf("got %v, %v", ids, err)
	}
}
