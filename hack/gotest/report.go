package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// event is one line of `go test -json`; `go doc test2json` describes it.
type event struct {
	Action     string
	Package    string
	ImportPath string // instead of Package, in the output of a build
	Test       string
	Output     string
}

// summary is what is known at the end of a run.
type summary struct {
	passed, failed int
	skipped        []string // "PACKAGE TEST: reason"
}

// verdict says whether a run whose tests did not fail is good enough.
func (s summary) verdict(strict bool) error {
	switch {
	case s.failed > 0:
		return fmt.Errorf("%d tests failed", s.failed)
	case s.passed == 0:
		return errors.New("no test ran")
	case strict && len(s.skipped) > 0:
		return fmt.Errorf("%d tests were skipped, and none may skip in CI as root", len(s.skipped))
	}
	return nil
}

// report copies from events to out what a person wants to read. The output of a
// test is held back until it is known whether the test failed; where a package
// ends before its test does (a panic, a timeout), the test's output comes with it.
func report(events io.Reader, out io.Writer) (summary, error) {
	var sum summary
	pending := map[[2]string]*strings.Builder{}
	decoder := json.NewDecoder(events)
	for {
		var e event
		if err := decoder.Decode(&e); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return sum, fmt.Errorf("reading the output of go test -json: %w", err)
		}
		key := [2]string{e.Package, e.Test}
		switch {
		case e.Action == "build-output" || e.Action == "output" && e.Test == "":
			if keepPackageLine(e.Output) {
				fmt.Fprint(out, e.Output)
			}
		case e.Action == "output":
			if pending[key] == nil {
				pending[key] = &strings.Builder{}
			}
			pending[key].WriteString(e.Output)
		case e.Test == "" && e.Action == "fail":
			for _, text := range unfinished(pending, e.Package) {
				fmt.Fprint(out, text)
			}
		case e.Test != "":
			sum.add(e, pending[key], out)
			if e.Action == "pass" || e.Action == "fail" || e.Action == "skip" {
				delete(pending, key)
			}
		}
	}
	sum.print(out)
	return sum, nil
}

// add counts a test that has ended.
func (s *summary) add(e event, output *strings.Builder, out io.Writer) {
	text := ""
	if output != nil {
		text = output.String()
	}
	switch e.Action {
	case "pass":
		s.passed++
	case "fail":
		s.failed++
		fmt.Fprint(out, text)
	case "skip":
		s.skipped = append(s.skipped, fmt.Sprintf("%s %s: %s", e.Package, e.Test, skipReason(text)))
	}
}

// print ends a run: the skipped tests by name and one line of numbers.
func (s *summary) print(out io.Writer) {
	for _, name := range s.skipped {
		fmt.Fprintln(out, "skipped:", name)
	}
	fmt.Fprintf(out, "%d passed, %d failed, %d skipped\n", s.passed, s.failed, len(s.skipped))
}

// keepPackageLine leaves out what `go test` says of every package in verbose mode.
func keepPackageLine(line string) bool {
	return line != "PASS\n" && line != "FAIL\n" && line != "testing: warning: no tests to run\n"
}

// skipReason is what the test said when it skipped: its output without the lines
// of the framework and without the place in the source.
func skipReason(output string) string {
	var reason []string
	for line := range strings.Lines(output) {
		line = strings.TrimSpace(line)
		if line == "" || strings.HasPrefix(line, "=== ") || strings.HasPrefix(line, "--- ") {
			continue
		}
		if _, text, ok := strings.Cut(line, ".go:"); ok {
			_, line, _ = strings.Cut(text, ": ")
		}
		reason = append(reason, line)
	}
	return strings.Join(reason, " ")
}

// unfinished is the output of the tests of a package that never ended, by name.
func unfinished(pending map[[2]string]*strings.Builder, pkg string) []string {
	var names []string
	for key := range pending {
		if key[0] == pkg {
			names = append(names, key[1])
		}
	}
	slices.Sort(names)
	texts := make([]string, len(names))
	for i, name := range names {
		texts[i] = pending[[2]string{pkg, name}].String()
		delete(pending, [2]string{pkg, name})
	}
	return texts
}
