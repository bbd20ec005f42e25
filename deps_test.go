package pillion_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/pillion-mesh/pillion"

// pkg is a package of this module as `go list -json` describes it. In its paths
// the module itself is written as a dot: "./injector".
type pkg struct {
	ImportPath string
	Name       string
	Imports    []string // by the package's own code, not by its tests
	Deps       []string // everything it imports, by whatever way
}

// rooms says what each top-level folder is. A folder that is not here fails the
// test, so that nobody adds a room without deciding which rules it is under.
var rooms = map[string]string{
	"api":        "pure",
	"argv":       "pure",
	"bootstrap":  "pure",
	"controller": "edge",
	"envoy":      "pure",
	"injector":   "pure",
	"iptables":   "pure",
	"lifecycle":  "pure",
	"manifest":   "pure",
	"mesh":       "pure",
	"metric":     "pure",
	"nearest":    "pure",
	"netfilter":  "edge",
	"preflight":  "pure",
	"proxy":      "edge",
	"webhook":    "edge",
	"bench":      "test",
	"charts":     "chart",
	"cmd":        "command",
	"e2e":        "test",
	"hack":       "tool",
	".":          "test", // the folder that this file is in
}

// importRule forbids some imports to some packages.
type importRule struct {
	name string
	// from are the packages under the rule: kinds as in rooms, or folders.
	from []string
	// forbid is what they must not import: a path with all below it; with a $ at
	// its end that path alone; "kind:edge" for our packages of a kind, but for the
	// importer's own folder; "foreign" for everything outside the standard library
	// and this module.
	forbid []string
	// deep looks at everything that is imported by whatever way, not only directly.
	deep bool
	why  string
}

var importRules = []importRule{
	{
		name: "commands are not imported", from: []string{"pure", "edge", "command", "chart", "test", "tool"},
		forbid: []string{"kind:command"},
		why:    "a command is flags and wiring; what others need belongs in a room",
	},
	{
		name: "edges import pure rooms", from: []string{"edge"},
		forbid: []string{"kind:edge", "kind:test", "kind:tool", "kind:chart"},
		why:    "edges never import each other, so that each can be understood and replaced alone",
	},
	{
		name: "pure rooms import pure rooms", from: []string{"pure"},
		forbid: []string{"kind:edge", "kind:test", "kind:tool", "kind:chart"},
		why:    "the direction is from the edges inwards",
	},
	{
		name: "pure rooms do nothing but compute", from: []string{"pure"},
		forbid: []string{"net/http", "os$", "os/exec", "os/signal", "log", "k8s.io/klog"},
		why:    "a pure room reads no file, talks to nobody and logs nothing: it returns values and errors",
	},
	{
		name: "pure rooms know no API server", from: []string{"pure"},
		forbid: []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime"}, deep: true,
		why: "the rules can be used and tested without a cluster",
	},
	{
		name: "what the pod's programs import is small", from: []string{"argv", "bootstrap", "iptables", "lifecycle", "proxy"},
		forbid: []string{"foreign"}, deep: true,
		why: "pillion-init and pillion-proxy start in every pod, so they carry the standard library only",
	},
	{
		name: "pillion-init carries netlink and nothing else", from: []string{"netfilter", "cmd/pillion-init"},
		forbid: []string{"net/http", "crypto/tls", "k8s.io", "sigs.k8s.io", "./bootstrap", "./proxy", "./injector", "./api"}, deep: true,
		why: "it is started for every pod and done in milliseconds",
	},
	{
		// controller-runtime's webhook server brings a client along; the point is that
		// nothing of ours makes one.
		name: "the webhook calls no API server", from: []string{"webhook", "cmd/pillion-webhook"},
		forbid: []string{
			"k8s.io/client-go", "sigs.k8s.io/controller-runtime$", "sigs.k8s.io/controller-runtime/pkg/client",
			"sigs.k8s.io/controller-runtime/pkg/cluster", "sigs.k8s.io/controller-runtime/pkg/manager",
		},
		why: "it has no rights in the cluster, and an admission waits for nobody",
	},
	{
		name:   "Envoy's messages are in one room", // all but that one
		from:   []string{"api", "argv", "bootstrap", "injector", "iptables", "lifecycle", "manifest", "mesh", "metric", "nearest", "edge", "command"},
		forbid: []string{"github.com/envoyproxy/go-control-plane"},
		why:    "they are 10 MB in a program; package envoy makes plain JSON of them",
	},
	{
		name:   "what is in every pod, or on the way of an admission, carries no messages of Envoy's",
		from:   []string{"cmd/pillion-init", "cmd/pillion-proxy", "cmd/pillion-webhook"},
		forbid: []string{"github.com/envoyproxy/go-control-plane", "./envoy", "./mesh"}, deep: true,
		why: "a pod is given a generation, which is JSON",
	},
	{
		name: "no templates over pod data", from: []string{"pure", "edge"},
		forbid: []string{"text/template", "html/template"},
		why:    "a value in a pod must not become syntax; build values, not text",
	},
}

// vague names say nothing about what is in a package.
var vague = []string{"util", "utils", "common", "helper", "helpers", "types", "consts", "constants", "misc", "shared", "lib"}

// TestDirection holds the direction rules on the packages of this module.
func TestDirection(t *testing.T) {
	packages := list(t)
	for _, rule := range importRules {
		t.Run(rule.name, func(t *testing.T) {
			for _, finding := range rule.findings(packages) {
				t.Errorf("%s: %s", finding, rule.why)
			}
		})
	}
	t.Run("every room is known", func(t *testing.T) { failWith(t, unknownRooms(packages)) })
	t.Run("names say what is inside", func(t *testing.T) { failWith(t, vagueNames(packages)) })
}

func failWith(t *testing.T, findings []string) {
	t.Helper()
	for _, finding := range findings {
		t.Error(finding)
	}
}

// findings are the imports that break the rule, each as "A imports B".
func (r importRule) findings(packages []pkg) []string {
	var findings []string
	for _, p := range packages {
		if !slices.Contains(r.from, kind(p.ImportPath)) && !slices.ContainsFunc(r.from, p.within) {
			continue
		}
		imports := p.Imports
		if r.deep {
			imports = p.Deps
		}
		for _, imported := range imports {
			if r.forbids(p, imported) {
				findings = append(findings, fmt.Sprintf("%s imports %s", p.ImportPath, imported))
			}
		}
	}
	return findings
}

func (r importRule) forbids(p pkg, imported string) bool {
	for _, pattern := range r.forbid {
		var hit bool
		if of, ok := strings.CutPrefix(pattern, "kind:"); ok {
			hit = kind(imported) == of && folder(imported) != folder(p.ImportPath)
		} else if alone, ok := strings.CutSuffix(pattern, "$"); ok {
			hit = imported == alone
		} else if pattern == "foreign" {
			hit = !strings.HasPrefix(imported, "./") && strings.Contains(folder(imported), ".")
		} else {
			hit = imported == pattern || strings.HasPrefix(imported, pattern+"/")
		}
		if hit {
			return true
		}
	}
	return false
}

// within says whether the package is in a folder of the module, as "cmd/pillionctl".
func (p pkg) within(folder string) bool {
	return strings.HasPrefix(p.ImportPath+"/", "./"+folder+"/")
}

// folder is the first element of a path; for one of ours the top-level folder.
func folder(path string) string {
	first, _, _ := strings.Cut(strings.TrimPrefix(path, "./"), "/")
	return first
}

// kind is what rooms says of one of our packages; empty for others.
func kind(path string) string {
	if path != "." && !strings.HasPrefix(path, "./") {
		return ""
	}
	return rooms[folder(path)]
}

func unknownRooms(packages []pkg) []string {
	var findings []string
	for _, p := range packages {
		if kind(p.ImportPath) == "" {
			findings = append(findings, fmt.Sprintf("%s is in no room: add its folder to `rooms` in deps_test.go and to docs/architecture.md", p.ImportPath))
		}
	}
	return findings
}

func vagueNames(packages []pkg) []string {
	var findings []string
	for _, p := range packages {
		if slices.Contains(vague, p.Name) {
			findings = append(findings, fmt.Sprintf("package %s in %s: name it after what it does", p.Name, p.ImportPath))
		}
	}
	return findings
}

// list describes every package of the module; Go's own command is the one that knows.
func list(t *testing.T) []pkg {
	t.Helper()
	command := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Name,Imports,Deps", "./...")
	var stderr bytes.Buffer
	command.Stderr = &stderr
	output, err := command.Output()
	if err != nil {
		t.Fatalf("listing the packages: %v\n%s", err, stderr.String())
	}
	var packages []pkg
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var p pkg
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		packages = append(packages, p.shortened())
	}
	return packages
}

// shortened writes the module's own path as a dot.
func (p pkg) shortened() pkg {
	shorten := func(path string) string {
		if rest, ok := strings.CutPrefix(path+"/", module+"/"); ok {
			return strings.TrimSuffix("./"+rest, "/")
		}
		return path
	}
	p.ImportPath = shorten(p.ImportPath)
	for _, paths := range [][]string{p.Imports, p.Deps} {
		for i, path := range paths {
			paths[i] = shorten(path)
		}
	}
	return p
}
