package manifest

import (
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// Error is what is wrong with a file, at a line of it.
type Error struct {
	File string
	// Line from 1; 0 where the whole file is meant.
	Line int
	// What is wrong, and what to do.
	What string
}

func (e *Error) Error() string {
	if e.Line == 0 {
		return e.File + ": " + e.What
	}
	return e.File + ":" + strconv.Itoa(e.Line) + ": " + e.What
}

// wrong is an error at a line of the document, counted as the parsers count.
func (d *Document) wrong(line int, format string, args ...any) *Error {
	return &Error{d.name, d.line + max(line, 1) - 1, fmt.Sprintf(format, args...)}
}

// wrongAt is an error at a place in the document.
func (d *Document) wrongAt(pointer []string, format string, args ...any) *Error {
	return &Error{d.name, d.lineOf(pointer), fmt.Sprintf(format, args...)}
}

var parsersLine = regexp.MustCompile(`^line (\d+): `)

// yamlError moves the line that the parser names to where it is in the file. Beside its
// words it names the two causes that they do not, where these are on the line.
func (d *Document) yamlError(err error) *Error {
	text := strings.TrimPrefix(err.Error(), "error converting YAML to JSON: ")
	text = strings.TrimPrefix(text, "yaml: ")
	line, of := 0, ""
	if m := parsersLine.FindStringSubmatch(text); m != nil {
		if n, err := strconv.Atoi(m[1]); err == nil {
			line, text = n, text[len(m[0]):]
			of = fmt.Sprintf(" of line %d", d.line+n-1)
		}
	} else if key := mappingKey(d.root); key != nil {
		line = key.Line
	}
	n := 0
	for l := range strings.Lines(d.text) {
		n++
		cause := ""
		switch {
		case n < line || n > line+1: // the parser is at most a line before the cause
		case template.MatchString(l):
			cause = "a template in it ({{): give what it makes, as `helm template` prints it"
		case aboutTab(text, n == max(line, 1)) && indentedByTab.MatchString(l):
			cause = "a tab before the text: YAML is indented by spaces alone"
		}
		if cause != "" {
			return d.wrong(n, "the YAML cannot be read, since there is %s (the parser says%s: %s)", cause, of, text)
		}
	}
	if line == 0 {
		return d.wrong(line, "the YAML cannot be read: %s", text)
	}
	return d.wrong(line, "the YAML cannot be read, look at this line and the one above: %s", text)
}

var (
	// template at the start of a value that has no quotes.
	template      = regexp.MustCompile(`^(?:[^'"#]*(?:[-:]\s|[,\[{]))?\s*\{\{`)
	indentedByTab = regexp.MustCompile(`^ *\t`)
)

// aboutTab says whether the parser complains of a tab. Where one begins a token it does
// not say that it is one, but which line it is on.
func aboutTab(text string, named bool) bool {
	return strings.Contains(text, "tab character") || named && strings.Contains(text, "cannot start any token")
}

// twice says that a key is there twice.
func (d *Document) twice(line int, key string) *Error {
	advice := "remove one of the two"
	if key == "apiVersion" || key == "kind" {
		advice += ", or put a line --- between two objects"
	}
	return d.wrong(line, "the key %q is there twice: %s", key, advice)
}

// noObject says what keeps a document from being an object.
func (d *Document) noObject(pointer []string, err error) *Error {
	wrong := (*json.SemanticError)(nil)
	if !errors.As(err, &wrong) || wrong.JSONPointer == "" {
		return d.wrongAt(pointer, "this is not a Kubernetes object: %v", err)
	}
	for name := range wrong.JSONPointer.Tokens() {
		pointer = append(pointer[:len(pointer):len(pointer)], name)
	}
	return d.wrongAt(pointer, "this is not a Kubernetes object: %s cannot be %s", fieldPath(pointer), KindName(wrong.JSONKind))
}

// KindName names a type of JSON as people who write YAML do.
func KindName(kind jsontext.Kind) string {
	switch kind {
	case '{':
		return "a mapping"
	case '[':
		return "a list"
	case '"':
		return "a text"
	case '0':
		return "a number"
	}
	return "true or false"
}
