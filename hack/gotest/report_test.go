package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// A run is written as a module of its own, so that the real `go test` is read.
func TestRun(t *testing.T) {
	tests := []struct {
		name   string
		body   string // of the test file
		strict bool
		err    string   // part of the error, "" for none
		want   []string // parts of the output
		not    []string // must not be in the output
	}{
		{
			name: "passed tests are silent",
			body: `func TestA(t *testing.T) { t.Log("chatter") }`,
			want: []string{"ok  \texample.test/m", "1 passed, 0 failed, 0 skipped"},
			not:  []string{"chatter", "=== RUN", "PASS"},
		},
		{
			name: "failed tests are shown",
			body: `func TestA(t *testing.T) { t.Error("wrong value") }; func TestB(t *testing.T) { t.Log("chatter") }`,
			err:  "go test: exit status 1",
			want: []string{"wrong value", "--- FAIL: TestA", "FAIL\texample.test/m", "1 passed, 1 failed, 0 skipped"},
			not:  []string{"chatter"},
		},
		{
			name: "skipped tests are named",
			body: `func TestA(t *testing.T) { t.Skip("needs root") }; func TestB(t *testing.T) {}`,
			want: []string{"skipped: example.test/m TestA: needs root", "1 passed, 0 failed, 1 skipped"},
		},
		{
			name:   "skipped tests fail where none may skip",
			body:   `func TestA(t *testing.T) { t.Run("sub", func(t *testing.T) { t.Skip("needs root") }) }`,
			strict: true,
			err:    "1 tests were skipped",
			want:   []string{"skipped: example.test/m TestA/sub: needs root"},
		},
		{
			name: "no test at all is a failure",
			body: `var _ = testing.Short`,
			err:  "no test ran",
			want: []string{"0 passed, 0 failed, 0 skipped"},
		},
		{
			name: "a panic is shown",
			body: `func TestA(t *testing.T) { go func() { panic("out of cheese") }(); select {} }`,
			err:  "go test: exit status 1",
			want: []string{"panic: out of cheese"},
		},
		{
			name: "a build that fails is shown",
			body: `func TestA(t *testing.T) { undefinedName() }`,
			err:  "go test: exit status 1",
			want: []string{"undefined: undefinedName", "FAIL\texample.test/m [build failed]"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			write(t, dir, "go.mod", "module example.test/m\n\ngo 1.26\n")
			write(t, dir, "m_test.go", "package m\n\nimport \"testing\"\n\n"+test.body+"\n")
			t.Chdir(dir)

			var out strings.Builder
			err := run(t.Context(), []string{"-vet=off", "./..."}, &out, test.strict)
			if got := errorText(err); (got == "") != (test.err == "") || !strings.Contains(got, test.err) {
				t.Errorf("error %q, want one with %q", got, test.err)
			}
			for _, want := range test.want {
				if !strings.Contains(out.String(), want) {
					t.Errorf("the output lacks %q:\n%s", want, out.String())
				}
			}
			for _, not := range test.not {
				if strings.Contains(out.String(), not) {
					t.Errorf("the output has %q:\n%s", not, out.String())
				}
			}
		})
	}
}

func TestSkipReason(t *testing.T) {
	output := "=== RUN   TestA\n    a_test.go:12: needs root: network namespaces\n--- SKIP: TestA (0.00s)\n"
	if diff := cmp.Diff("needs root: network namespaces", skipReason(output)); diff != "" {
		t.Error(diff)
	}
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
