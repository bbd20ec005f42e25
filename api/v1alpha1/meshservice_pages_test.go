package v1alpha1

import (
	"os"
	"path/filepath"
	"regexp"
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

// TestColumnsOfThePage: kubectl shows the columns that the page names, without and with
// -o wide.
func TestColumnsOfThePage(t *testing.T) {
	source, err := os.ReadFile("meshservice.go")
	if err != nil {
		t.Fatal(err)
	}
	wide := map[string]bool{}
	for _, column := range regexp.MustCompile(`printcolumn:name="(\w+)",type=\w+(,priority=1)?`).FindAllStringSubmatch(string(source), -1) {
		wide[strings.ToUpper(column[1])] = column[2] != ""
	}
	page, err := os.ReadFile(pages + "/delivery.md")
	if err != nil {
		t.Fatal(err)
	}
	named := 0
	for _, line := range regexp.MustCompile(`kubectl get meshservice +(-o wide)? +#(.*)`).FindAllStringSubmatch(string(page), -1) {
		for _, column := range regexp.MustCompile(`[A-Z]{2,}`).FindAllString(line[2], -1) {
			named++
			if is, known := wide[column]; !known || is != (line[1] != "") {
				t.Errorf("%s: there is no such column, or with the other command", column)
			}
		}
	}
	if named < 5 {
		t.Errorf("only %d columns are named", named)
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
