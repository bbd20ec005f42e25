package v1alpha1

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	"sigs.k8s.io/yaml"
)

var update = flag.Bool("update", false, "write what is found into testdata")

// TestDecodeTellsEverything reads documents with mistakes, and compares every word
// that is said about them.
func TestDecodeTellsEverything(t *testing.T) {
	for _, path := range files(t, "testdata/structure/*", "testdata/meaning/*") {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			if err != nil {
				t.Fatal(err)
			}
			config, err := Decode(archive.Files[0].Data)
			if err == nil || config != nil {
				t.Fatalf("Decode = %v, %v; want an error alone", config, err)
			}
			got := err.Error() + "\n"
			if *update {
				archive.Files = append(archive.Files[:1], txtar.File{Name: "problems", Data: []byte(got)})
				if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if len(archive.Files) != 2 {
				t.Fatal("there is no file `problems` in the archive; run with -update and read what it says")
			}
			if diff := cmp.Diff(string(archive.Files[1].Data), got); diff != "" {
				t.Errorf("problems (-want +got):\n%s", diff)
			}
		})
	}
}

func files(tb testing.TB, patterns ...string) []string {
	tb.Helper()
	var paths []string
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err != nil || found == nil {
			tb.Fatalf("no files %s (%v)", pattern, err)
		}
		paths = append(paths, found...)
	}
	return paths
}

// TestDecodeKeepsWhatIsGiven writes each good document anew after reading it: what
// it said must still be there, and the result must read as the same.
func TestDecodeKeepsWhatIsGiven(t *testing.T) {
	for _, path := range files(t, "testdata/good/*") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			config, err := Decode(data)
			if err != nil {
				t.Fatal(err)
			}
			written, err := yaml.Marshal(config)
			if err != nil {
				t.Fatal(err)
			}
			again, err := Decode(written)
			if err != nil {
				t.Fatalf("what was written cannot be read: %v\n%s", err, written)
			}
			if diff := cmp.Diff(config, again, equalQuantities()); diff != "" {
				t.Errorf("read again (-first +second):\n%s", diff)
			}
			var given, kept any
			if err := errors.Join(yaml.Unmarshal(data, &given), yaml.Unmarshal(written, &kept)); err != nil {
				t.Fatal(err)
			}
			for _, lost := range missing("", given, kept) {
				t.Errorf("%s was given and is not in:\n%s", lost, written)
			}
		})
	}
}

// missing are the paths of a document that another one does not have.
func missing(path string, given, kept any) []string {
	var lost []string
	switch g := given.(type) {
	case map[string]any:
		k, _ := kept.(map[string]any)
		for name, value := range g {
			if _, ok := k[name]; !ok {
				lost = append(lost, path+"."+name)
				continue
			}
			lost = append(lost, missing(path+"."+name, value, k[name])...)
		}
	case []any:
		k, _ := kept.([]any)
		if len(k) != len(g) {
			return []string{path}
		}
		for n := range g {
			lost = append(lost, missing(path+"[]", g[n], k[n])...)
		}
	}
	return lost
}

func TestDecodeWhatCannotBeParsed(t *testing.T) {
	const head = "apiVersion: pillion.dev/v1alpha1\nkind: InjectorConfig\n"
	tests := []struct{ name, document, want string }{
		{"nothing", "", "the document is empty"},
		{"comment", "# nothing\n", "the document is empty"},
		{"null", "null", "must be a document with fields, as `apiVersion: pillion.dev/v1alpha1`, got null"},
		{"list", "[1]", "must be a document with fields, as `apiVersion: pillion.dev/v1alpha1`, got [1]"},
		{"key twice in YAML", head + "optIn: {}\noptIn: {}\n", "is not valid YAML: yaml: unmarshal errors:\n  line 4: key \"optIn\" already set in map"},
		{"key twice in JSON", `{"kind":"InjectorConfig","optIn":{"label":"a","label":"b"}}`, `duplicate field "optIn.label"`},
		{"two documents", head + "---\n" + head, "has more than one YAML document; give one"},
		{"two in JSON", "{}{}", "is not valid YAML: yaml: did not find expected <document start>"},
		{"no UTF-8", head + "optIn: {label: \"\xff\"}", "is not a text in UTF-8"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			config, err := Decode([]byte(test.document))
			if config != nil || err == nil || err.Error() != test.want {
				t.Errorf("Decode = %v, %v\nwant %s", config, err, test.want)
			}
			var problems Problems
			if !errors.As(err, &problems) || len(problems) != 1 {
				t.Errorf("%#v is not Problems with one entry", err)
			}
		})
	}
}

func TestProblemsAreSortedByNumber(t *testing.T) {
	problems := Problems{{"a[10].b", ""}, {"a[2].b", ""}, {"a", ""}, {"b", ""}, {"a[2].a", ""}, {"a[2]", "y"}, {"a[2]", "x"}}.sorted()
	want := Problems{{"a", ""}, {"a[2]", "x"}, {"a[2]", "y"}, {"a[2].a", ""}, {"a[2].b", ""}, {"a[10].b", ""}, {"b", ""}}
	if diff := cmp.Diff(want, problems); diff != "" {
		t.Error(diff)
	}
}

// FuzzDecode holds that no bytes make Decode panic, that it returns a
// configuration or problems, and that a configuration survives being written.
func FuzzDecode(f *testing.F) {
	for _, path := range files(f, "testdata/good/*", "testdata/structure/*", "testdata/meaning/*") {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		if archive := txtar.Parse(data); len(archive.Files) > 0 {
			data = archive.Files[0].Data
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		config, err := Decode(data)
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 || config != nil {
				t.Fatalf("Decode = %v, %#v", config, err)
			}
			return
		}
		written, err := yaml.Marshal(config)
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode(written)
		if err != nil {
			t.Fatalf("what was written cannot be read: %v\n%s", err, written)
		}
		if diff := cmp.Diff(config, again, equalQuantities()); diff != "" {
			t.Fatalf("read again (-first +second):\n%s", diff)
		}
	})
}
