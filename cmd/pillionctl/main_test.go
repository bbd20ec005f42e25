package main

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
)

var update = flag.Bool("update", false, "write what the cases in testdata print now into them")

// TestCases runs each file in testdata: its "args", in a folder with its other
// files and "stdin", print "stdout" and "stderr" and end with "status".
func TestCases(t *testing.T) {
	paths, err := filepath.Glob("testdata/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("there are no cases: %v", err)
	}
	folder, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) {
			runCase(t, filepath.Join(folder, path))
		})
	}
}

func runCase(t *testing.T, path string) {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir())
	want := map[string]string{}
	var args []string
	var stdin string
	var inputs []txtar.File
	for _, f := range archive.Files {
		switch f.Name {
		case "stdout", "stderr", "status":
			want[f.Name] = string(f.Data)
			continue
		case "args":
			args = strings.Fields(string(f.Data))
		case "stdin":
			stdin = string(f.Data)
		default:
			if err := os.WriteFile(f.Name, f.Data, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		inputs = append(inputs, f)
	}
	status, stdout, stderr := call("pillionctl", stdin, args...)
	got := map[string]string{"stdout": stdout, "stderr": stderr, "status": fmt.Sprintln(status)}
	if *update {
		archive.Files = inputs
		for _, name := range []string{"stdout", "stderr", "status"} {
			archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(got[name])})
		}
		if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("pillionctl %s (-want +got):\n%s", strings.Join(args, " "), diff)
	}
}

// call runs the program at a fixed time.
func call(name, stdin string, args ...string) (status int, stdout, stderr string) {
	var out, errors bytes.Buffer
	p := program{
		name: name, in: strings.NewReader(stdin), out: &out, errors: &errors,
		now: time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC),
	}
	status = p.run(args)
	return status, out.String(), errors.String()
}

// TestPages holds the reference pages against the code.
func TestPages(t *testing.T) {
	for name, want := range pages() {
		got, err := os.ReadFile(filepath.Join("..", "..", "docs", "reference", name))
		if err != nil {
			t.Errorf("%v; `make generate` writes it", err)
			continue
		}
		if diff := cmp.Diff(want, string(got)); diff != "" {
			t.Errorf("docs/reference/%s is not current; `make generate` writes it (-want +got):\n%s", name, diff)
		}
	}
}

// TestPluginName: as a kubectl plugin it is called by another name, and says so.
func TestPluginName(t *testing.T) {
	_, help, _ := call("kubectl-pillion", "", "inject", "--help")
	for _, want := range []string{"kubectl pillion inject -f FILE", "kubectl pillion inject -f web.yaml --diff"} {
		if !strings.Contains(help, want) {
			t.Errorf("the help does not say %q:\n%s", want, help)
		}
	}
	if strings.Contains(help, "pillionctl") {
		t.Errorf("the help names pillionctl:\n%s", help)
	}
}

func TestColorFlag(t *testing.T) {
	const pod = "apiVersion: v1\nkind: Pod\nmetadata:\n  name: p\n  labels:\n    service-mesh-enabled: \"true\"\nspec:\n  containers:\n  - name: c\n    image: i\n"
	for _, test := range []struct {
		color string
		want  bool
	}{{"always", true}, {"never", false}, {"auto", false}} {
		for _, args := range [][]string{{"why"}, {"inject", "--diff"}} {
			status, out, errors := call("pillionctl", pod, append(args, "-f", "-", "--color", test.color)...)
			if got := strings.Contains(out, "\x1b["); status != 0 || out == "" || got != test.want {
				t.Errorf("%v --color %s: status %d, colored %v, stderr %q", args, test.color, status, got, errors)
			}
		}
	}
	if status, _, errors := call("pillionctl", "", "version", "--color", "blue"); status != exitFailed || !strings.Contains(errors, "accepted is one of auto, always, never") {
		t.Errorf("--color blue: status %d, %q", status, errors)
	}
}

func TestWantsColor(t *testing.T) {
	terminal, err := os.Open("/dev/tty")
	if err != nil {
		// A character device takes its place where there is no terminal.
		if terminal, err = os.Open("/dev/null"); err != nil {
			t.Fatal(err)
		}
	}
	defer terminal.Close()
	file, err := os.Create(filepath.Join(t.TempDir(), "out"))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	env := func(pairs ...string) func(string) string {
		return func(name string) string {
			for n := 0; n < len(pairs); n += 2 {
				if pairs[n] == name {
					return pairs[n+1]
				}
			}
			return ""
		}
	}
	for _, test := range []struct {
		name string
		out  *os.File
		env  func(string) string
		want bool
	}{
		{"a terminal", terminal, env(), true},
		{"a file", file, env(), false},
		{"NO_COLOR", terminal, env("NO_COLOR", "1"), false},
		{"a dumb terminal", terminal, env("TERM", "dumb"), false},
	} {
		if got := wantsColor(test.out, test.env); got != test.want {
			t.Errorf("%s: %v", test.name, got)
		}
	}
}

func TestCompletion(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{[]string{"inject", "-o", ""}, "same\nyaml\njson\n"},
		{[]string{"why", "-o", ""}, "table\njson\n"},
		{[]string{"reasons", "PIL01"}, "PIL010\tNotOptedIn\n"},
		{[]string{"annotations", "log"}, "log-level\n"},
		{[]string{"config", "explain", "lifecycle.d"}, "lifecycle.drainTime\n"},
		{[]string{"version", "--color", ""}, "auto\nalways\nnever\n"},
	} {
		_, out, _ := call("pillionctl", "", append([]string{"__complete"}, test.args...)...)
		if !strings.HasPrefix(out, test.want) {
			t.Errorf("%q offers %q, not %q", test.args, out, test.want)
		}
	}
}
