package v1alpha1

import (
	"path"
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

func TestAcceptedNamesFields(t *testing.T) {
	found := 0
	for _, f := range Fields() {
		if Accepted(f.Path) != nil || Accepted(f.Path+"[]") != nil {
			found++
		}
	}
	if found != 9 {
		t.Errorf("%d fields have a closed set, want 9: Accepted knows a path that is no field's, or a field lost its set", found)
	}
}
