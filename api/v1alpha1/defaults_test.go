package v1alpha1

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
)

// equalQuantities compares amounts, not how they are kept in memory.
func equalQuantities() cmp.Option {
	return cmp.Comparer(func(a, b resource.Quantity) bool { return a.Cmp(b) == 0 })
}

func TestDefaultConfigIsValid(t *testing.T) {
	if errs := Validate(DefaultConfig()); errs != nil {
		t.Error(errs.ToAggregate())
	}
}

func TestDefaultChangesNothingThatIsSet(t *testing.T) {
	config := DefaultConfig()
	config.OptIn.Label = "mesh"
	config.Annotations.Allowed = []string{}
	want, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	Default(config)
	got, err := json.Marshal(config)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Errorf("defaulted once more (-want +got):\n%s", diff)
	}
}

// TestDefaultsShareNothing changes one configuration and looks at the next.
func TestDefaultsShareNothing(t *testing.T) {
	first := DefaultConfig()
	first.Lifecycle.DrainTime.Duration = 0
	first.Sidecar.Resources.Requests.CPU.Add(resource.MustParse("1"))
	first.Redirect.IPFamilies[0] = ""
	first.Annotations.Allowed[0] = ""
	if errs := Validate(DefaultConfig()); errs != nil {
		t.Error(errs.ToAggregate())
	}
	if got := DefaultConfig().Sidecar.Resources.Requests.CPU.String(); got != "100m" {
		t.Errorf("CPU request %s, want 100m", got)
	}
}

// TestCommentsNameTheDefaults holds every default against the comment of its field
// or of the object that holds it.
func TestCommentsNameTheDefaults(t *testing.T) {
	docs := map[string]string{}
	for _, f := range Fields() {
		docs[f.Path] = f.Doc
		if f.Default == "" {
			continue
		}
		parent := f.Path[:max(0, strings.LastIndexByte(f.Path, '.'))]
		for _, word := range strings.FieldsFunc(f.Default, func(r rune) bool { return strings.ContainsRune(`[]",`, r) }) {
			if !strings.Contains(f.Doc, word) && !strings.Contains(docs[parent], word) {
				t.Errorf("%s: the default %s is in no comment: %s", f.Path, word, f.Doc)
			}
		}
	}
	if len(docs) == 0 {
		t.Error("there are no fields")
	}
}
