package v1alpha1

import (
	"path"
	"reflect"
	"strings"
	"testing"
)

func TestMatchNamespace(t *testing.T) {
	tests := []struct {
		pattern, name string
		want          bool
	}{
		{"default", "default", true},
		{"default", "default2", false},
		{"default", "my-default", false},
		{"team-*", "team-", true},
		{"team-*", "team-a", true},
		{"team-*", "team", false},
		{"*-prod", "team-a-prod", true},
		{"*-prod", "team-a-prod-2", false},
		{"a*b*c", "a-b-b-c", true},
		{"a*b*c", "a-c-b", false},
		{"team-?", "team-a", true},
		{"team-?", "team-", false},
		{"team-?", "team-ab", false},
		{"?*", "a", true},
		{"?*", "", false},
		{"*", "", true},
		{"", "", true},
		{"", "a", false},
		{"a**", "a", true},
	}
	for _, test := range tests {
		if got := MatchNamespace(test.pattern, test.name); got != test.want {
			t.Errorf("MatchNamespace(%q, %q) = %v", test.pattern, test.name, got)
		}
	}
}

// TestMatchNamespaceIsNotExponential would not end in a lifetime if every split of
// the name were tried.
func TestMatchNamespaceIsNotExponential(t *testing.T) {
	if MatchNamespace(strings.Repeat("a*", 30)+"b", strings.Repeat("a", 63)) {
		t.Error("there is no b in the name")
	}
}

// FuzzMatchNamespace compares with the standard library's glob, which means the
// same for what namespaces and patterns may consist of.
func FuzzMatchNamespace(f *testing.F) {
	f.Add("team-*", "team-a")
	f.Add("a?*b", "axxb")
	f.Fuzz(func(t *testing.T, pattern, name string) {
		if !validGlob(pattern) || !validGlob(name) || strings.ContainsAny(name, "*?") {
			t.Skip("not a pattern and a name")
		}
		want, err := path.Match(pattern, name)
		if err != nil {
			t.Fatal(err)
		}
		if got := MatchNamespace(pattern, name); got != want {
			t.Errorf("MatchNamespace(%q, %q) = %v", pattern, name, got)
		}
	})
}

// TestAcceptedKnowsEveryClosedSet: a type of its own for a string is a closed set.
func TestAcceptedKnowsEveryClosedSet(t *testing.T) {
	sets := map[string]bool{"images.pullPolicy": true, "envoy.logLevel": true}
	closedSets("", reflect.TypeFor[InjectorConfig](), sets)
	closedSets("spec", reflect.TypeFor[MeshServiceSpec](), sets)
	if len(sets) < 3 {
		t.Errorf("only %v found", sets)
	}
	for path := range sets {
		if !strings.HasPrefix(path, "namespaces[].") && len(Accepted(path)) < 2 {
			t.Errorf("Accepted(%q) = %q", path, Accepted(path))
		}
	}
}

// closedSets adds the paths of the fields that have such a type.
func closedSets(at string, t reflect.Type, sets map[string]bool) {
	switch t.Kind() {
	case reflect.Pointer:
		closedSets(at, t.Elem(), sets)
	case reflect.Slice:
		closedSets(at+"[]", t.Elem(), sets)
	case reflect.String:
		if t != reflect.TypeFor[string]() {
			sets[at] = true
		}
	case reflect.Struct:
		if scalarText(t) != "" {
			return
		}
		for name, value := range fieldsOf(reflect.New(t).Elem()) {
			closedSets(strings.TrimPrefix(at+"."+name, "."), value.Type(), sets)
		}
	}
}
