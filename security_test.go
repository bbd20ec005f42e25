package pillion_test

import (
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// TestSecurityClaims: the tests that SECURITY.md names are there. One that is renamed
// must not leave a claim with nothing behind it.
func TestSecurityClaims(t *testing.T) {
	page, err := os.ReadFile("SECURITY.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z0-9]+)`").FindAllSubmatch(page, -1)
	if len(named) < 30 {
		t.Fatalf("%d tests are named", len(named))
	}
	output, err := exec.CommandContext(t.Context(), "git", "grep", "-hoE", "--untracked", `^func (Test|Fuzz)[A-Za-z0-9]+\(`, "--", "*_test.go").Output()
	if err != nil {
		t.Fatal(err)
	}
	there := map[string]bool{}
	for line := range strings.Lines(string(output)) {
		there[strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(line), "func "), "(")] = true
	}
	for _, match := range named {
		if name := string(match[1]); !there[name] {
			t.Errorf("there is no test %s", name)
		}
	}
}
