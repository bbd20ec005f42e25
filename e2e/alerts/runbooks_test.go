package alerts

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// sections of each runbook, so that whoever is paged finds the same things in the same place.
var sections = []string{"What it means", "Who feels it", "Look first", "Mend it", "It is over when"}

// TestEachAlertHasARunbook, each runbook an alert, and the index both.
func TestEachAlertHasARunbook(t *testing.T) {
	var alerts []string
	for _, rule := range readRules(t) {
		alerts = append(alerts, rule.Alert)
	}
	slices.Sort(alerts)
	alerts = slices.Compact(alerts)
	index, err := os.ReadFile(filepath.Join(runbooks, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	pages, err := filepath.Glob(filepath.Join(runbooks, "*.md"))
	if err != nil {
		t.Fatal(err)
	}
	var named []string
	for _, page := range pages {
		name := strings.TrimSuffix(filepath.Base(page), ".md")
		if name == "README" {
			continue
		}
		named = append(named, name)
		if !strings.Contains(string(index), "("+name+".md)") {
			t.Errorf("docs/runbooks/README.md does not lead to %s.md", name)
		}
		checkRunbook(t, page, name)
	}
	if diff := cmp.Diff(alerts, named); diff != "" {
		t.Errorf("alerts -, runbooks +\n%s", diff)
	}
}

func checkRunbook(t *testing.T, page, name string) {
	t.Helper()
	text, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	var title string
	var got []string
	for line := range strings.Lines(string(text)) {
		line = strings.TrimSpace(line)
		if rest, ok := strings.CutPrefix(line, "# "); ok && title == "" {
			title = rest
		}
		if rest, ok := strings.CutPrefix(line, "## "); ok {
			got = append(got, rest)
		}
	}
	if diff := cmp.Diff(sections, got); title != name || diff != "" {
		t.Errorf("%s: the title is %q, want %q; sections -want +got\n%s", page, title, name, diff)
	}
}
