package v1alpha1

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/pillion-mesh/pillion/nearest"
)

// Field describes one field of InjectorConfig. Fields lists all of them: that
// table is generated from the types, their comments and DefaultConfig, and
// everything that explains the document (`pillionctl config explain`, the JSON
// schema, the reference page) is made from it.
type Field struct {
	// Path from the top, as "lifecycle.drainTime"; items of a list are written as
	// "redirect.inbound.reservedPorts[].port".
	Path string `json:"path"`
	// Type is object, string, integer, quantity, duration or ports (a port's number
	// or a range), or "list of" one of them.
	Type string `json:"type"`
	// Default as JSON; empty where there is none.
	Default string `json:"default,omitempty"`
	// Doc is one or more sentences.
	Doc string `json:"doc"`
	// Enum are the accepted values, where they are a closed set; of a list's items
	// where it is a list.
	Enum []string `json:"enum,omitempty"`
	// Required says that the field must be there where the object is that holds it.
	Required bool `json:"required,omitempty"`
}

// ListOf is what the Type of a list begins with.
const ListOf = "list of "

// Explain returns the field at a path and then the fields below it; all fields for
// an empty path. The brackets of a list may be left out or hold a number, and what
// namespaces[] shares with the top level is explained there. The error for an
// unknown path names the nearest one.
func Explain(path string) ([]Field, error) {
	asked := bare(path)
	if below, ok := strings.CutPrefix(asked, "namespaces."); ok && below != "match" {
		asked = below
	}
	var found []Field
	var paths []string
	for _, f := range Fields() {
		p := bare(f.Path)
		paths = append(paths, p)
		if asked == "" || p == asked || strings.HasPrefix(p, asked+".") {
			found = append(found, f)
		}
	}
	if found != nil {
		return found, nil
	}
	if near, ok := nearest.Name(asked, paths); ok {
		return nil, fmt.Errorf("explaining %q: no such field; did you mean %s?", path, near)
	}
	return nil, fmt.Errorf("explaining %q: no such field; without a path all fields are listed", path)
}

// bare is a path without the brackets of its lists.
func bare(path string) string { return brackets.ReplaceAllString(path, "") }

var brackets = regexp.MustCompile(`\[[^\]]*\]`)
