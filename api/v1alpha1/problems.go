package v1alpha1

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Problem is one mistake in a document.
type Problem struct {
	// Path of the field, as "redirect.inbound.reservedPorts[2].port"; empty where
	// the document as a whole is meant.
	Path string `json:"path,omitempty"`
	// Message says what is wrong and what is accepted.
	Message string `json:"message"`
}

func (p Problem) String() string {
	if p.Path == "" {
		return p.Message
	}
	return p.Path + ": " + p.Message
}

// Problems is the error that Decode returns: everything that is wrong with a
// document, sorted by path.
type Problems []Problem //nolint:errname // it is a list that can be shown, and an error as well

// Error is one line for one problem, and otherwise a first line with their number
// and a line for each.
func (p Problems) Error() string {
	if len(p) == 1 {
		return p[0].String()
	}
	var text strings.Builder
	fmt.Fprintf(&text, "%d problems:", len(p))
	for _, problem := range p {
		text.WriteString("\n  " + problem.String())
	}
	return text.String()
}

// sorted puts problems in the order of their paths, list items by number.
func (p Problems) sorted() Problems {
	slices.SortStableFunc(p, func(a, b Problem) int {
		return cmp.Or(comparePaths(a.Path, b.Path), cmp.Compare(a.Message, b.Message))
	})
	return p
}

// comparePaths compares the digits in two paths as numbers: [2] before [10].
func comparePaths(a, b string) int {
	for a != "" && b != "" {
		na, nb := digits(a), digits(b)
		if na > 0 && nb > 0 {
			if order := cmp.Or(cmp.Compare(na, nb), cmp.Compare(a[:na], b[:nb])); order != 0 {
				return order
			}
			a, b = a[na:], b[nb:]
			continue
		}
		if a[0] != b[0] {
			return cmp.Compare(a[0], b[0])
		}
		a, b = a[1:], b[1:]
	}
	return cmp.Compare(a, b)
}

// digits is how many digits a text begins with.
func digits(text string) int {
	return len(text) - len(strings.TrimLeft(text, "0123456789"))
}

// covers says whether a problem is with a path or with something that holds it: a
// value that could not be read needs no second complaint that it is not valid.
func (p Problems) covers(path string) bool {
	return slices.ContainsFunc(p, func(problem Problem) bool {
		rest, within := strings.CutPrefix(path, problem.Path)
		return within && (rest == "" || rest[0] == '.' || rest[0] == '[')
	})
}

// withInvalid adds what validation found in the values that could be read.
func (p Problems) withInvalid(list field.ErrorList) Problems {
	all, unread := p, make(map[string]bool, len(p))
	for _, problem := range p {
		unread[problem.Path] = true
	}
	for _, err := range list {
		if !covered(unread, err.Field) {
			all = append(all, Problem{err.Field, err.ErrorBody()})
		}
	}
	return all
}

// covered is covers for many paths.
func covered(unread map[string]bool, path string) bool {
	for end := range len(path) {
		if (path[end] == '.' || path[end] == '[') && unread[path[:end]] {
			return true
		}
	}
	return unread[path]
}
