package v1alpha1

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const pages = "../../docs/services"

// TestExamplesOfThePages: what a page for owners shows is a file, is valid, and nothing in
// it is warned about.
func TestExamplesOfThePages(t *testing.T) {
	for _, path := range files(t, pages+"/*.md") {
		name := strings.TrimSuffix(filepath.Base(path), ".md")
		if name == "README" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			page, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			example, err := os.ReadFile(filepath.Join(pages, "examples", name+".yaml"))
			if err != nil {
				t.Fatal(err)
			}
			if !strings.Contains(string(page), "```yaml\n"+string(example)+"```\n") {
				t.Errorf("%s does not show examples/%s.yaml as it is", path, name)
			}
			mesh, err := DecodeMeshService(example)
			if err != nil {
				t.Fatal(err)
			}
			for _, warning := range WarnMeshService(mesh) {
				t.Error(warning)
			}
		})
	}
}

// TestEveryExampleHasAPage, which the list of pages leads to.
func TestEveryExampleHasAPage(t *testing.T) {
	list, err := os.ReadFile(pages + "/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files(t, pages+"/examples/*") {
		if page := strings.TrimSuffix(filepath.Base(path), ".yaml") + ".md"; !strings.Contains(string(list), "]("+page+")") {
			t.Errorf("%s is not in the list of pages", page)
		}
	}
}
