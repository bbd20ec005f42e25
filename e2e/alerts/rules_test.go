package alerts

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

const (
	root     = "../.."
	ruleFile = root + "/charts/pillion/files/alerts.yaml"
	runbooks = root + "/docs/runbooks"
	// runbookURL is where a runbook can be read by whoever is paged.
	runbookURL = "https://github.com/pillion-mesh/pillion/blob/main/docs/runbooks/"
)

func readRules(t *testing.T) []Rule {
	t.Helper()
	rules, err := ReadRules(ruleFile)
	if err != nil {
		t.Fatal(err)
	}
	if len(rules) == 0 {
		t.Fatalf("%s has no rules", ruleFile)
	}
	return rules
}

func promtool(t *testing.T, arguments ...string) {
	t.Helper()
	programs, err := Find(t.Context(), root)
	if err != nil {
		t.Fatal(err)
	}
	if output, err := exec.CommandContext(t.Context(), programs.Promtool, arguments...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(arguments, " "), err, output)
	}
}

func TestRulesAreRead(t *testing.T) {
	readRules(t) // so that Go's test cache knows of the file
	promtool(t, "check", "rules", ruleFile)
}

// TestRulesSayWhoAndWhat: each alert says how urgent it is, whose it is, and where to read on.
func TestRulesSayWhoAndWhat(t *testing.T) {
	seen := map[string]bool{}
	for _, rule := range readRules(t) {
		if !strings.HasPrefix(rule.Alert, "Pillion") {
			t.Errorf("%s: the name does not begin with Pillion", rule.Alert)
		}
		if severity := rule.Labels["severity"]; severity != "page" && severity != "ticket" {
			t.Errorf("%s: severity is %q; accepted is page or ticket", rule.Alert, severity)
		}
		if owner := rule.Labels["owner"]; owner != "infra" && owner != "service" {
			t.Errorf("%s: owner is %q; accepted is infra or service", rule.Alert, owner)
		}
		if rule.Annotations["summary"] == "" || !strings.Contains(rule.Annotations["description"], "{{") {
			t.Errorf("%s: there is no summary, or no description with a value", rule.Alert)
		}
		if got, want := rule.Annotations["runbook_url"], runbookURL+rule.Alert+".md"; got != want {
			t.Errorf("%s: runbook_url is %q, want %q", rule.Alert, got, want)
		}
		if key := rule.key(); seen[key] {
			t.Errorf("two rules are %s: Prometheus could not tell them apart", key)
		} else {
			seen[key] = true
		}
	}
}

// key tells apart rules of the same name, by what their labels are.
func (r Rule) key() string {
	words := []string{r.Alert}
	for _, label := range slices.Sorted(maps.Keys(r.Labels)) {
		words = append(words, label+"="+r.Labels[label])
	}
	return strings.Join(words, " ")
}

// ruleTest is what a test looks at in a file for `promtool test rules`.
type ruleTest struct {
	Tests []struct {
		Name  string `json:"name"`
		Tests []struct {
			Alert string `json:"alertname"`
			Want  []struct {
				Labels map[string]string `json:"exp_labels"`
			} `json:"exp_alerts"`
		} `json:"alert_rule_test"`
	} `json:"tests"`
}

// TestEachRuleFires: promtool shows each rule series with which it fires, and series
// that are nearly so with which it does not.
func TestEachRuleFires(t *testing.T) {
	rules := readRules(t)
	fires, misses := map[string]bool{}, map[string]bool{}
	paths, err := filepath.Glob("testdata/*_test.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		t.Run(filepath.Base(path), func(t *testing.T) {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			promtool(t, "test", "rules", path)
			var file ruleTest
			if err := yaml.Unmarshal(text, &file); err != nil {
				t.Fatal(err)
			}
			for _, test := range file.Tests {
				quiet := true
				for _, at := range test.Tests {
					for _, want := range at.Want {
						quiet = false
						for _, rule := range rules {
							if rule.Alert == at.Alert && contains(want.Labels, rule.Labels) {
								fires[rule.key()] = true
							}
						}
					}
					if strings.HasPrefix(test.Name, "near miss") {
						misses[at.Alert] = true
					}
				}
				if quiet != strings.HasPrefix(test.Name, "near miss") {
					t.Errorf("%q: a test in which nothing fires is called near miss, and no other", test.Name)
				}
			}
		})
	}
	for _, rule := range rules {
		if !fires[rule.key()] {
			t.Errorf("no test in testdata sees %s fire", rule.key())
		}
		if !misses[rule.Alert] {
			t.Errorf("testdata has no near miss of %s", rule.Alert)
		}
	}
}

func contains(labels, some map[string]string) bool {
	for name, value := range some {
		if labels[name] != value {
			return false
		}
	}
	return true
}
