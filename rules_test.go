package pillion_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Each rule is shown a package that breaks it and one that does not, so that a
// rule that can no longer fail is noticed.

func TestImportRulesCanFail(t *testing.T) {
	tests := []struct {
		rule     string
		breaks   pkg
		findings []string
		keeps    pkg
	}{
		{
			rule:     "commands are not imported",
			breaks:   pkg{ImportPath: "./webhook", Imports: []string{"./cmd/pillionctl"}},
			findings: []string{"./webhook imports ./cmd/pillionctl"},
			keeps:    pkg{ImportPath: "./cmd/pillionctl", Imports: []string{"./cmd/pillionctl/table", "./manifest"}},
		},
		{
			rule:     "edges import pure rooms",
			breaks:   pkg{ImportPath: "./webhook", Imports: []string{"./injector", "./e2e/controlplane"}},
			findings: []string{"./webhook imports ./e2e/controlplane"},
			keeps:    pkg{ImportPath: "./webhook", Imports: []string{"./injector", "./webhook/metrics"}},
		},
		{
			rule:     "pure rooms import pure rooms",
			breaks:   pkg{ImportPath: "./api/v1alpha1", Imports: []string{"./webhook"}},
			findings: []string{"./api/v1alpha1 imports ./webhook"},
			keeps:    pkg{ImportPath: "./injector", Imports: []string{"./iptables", "./api/v1alpha1"}},
		},
		{
			rule:     "pure rooms do nothing but compute",
			breaks:   pkg{ImportPath: "./manifest", Imports: []string{"fmt", "log/slog", "net/http", "os"}},
			findings: []string{"./manifest imports log/slog", "./manifest imports net/http", "./manifest imports os"},
			// What a dependency does is its own affair.
			keeps: pkg{ImportPath: "./injector", Imports: []string{"net/netip"}, Deps: []string{"os", "log"}},
		},
		{
			rule:     "pure rooms know no API server",
			breaks:   pkg{ImportPath: "./injector", Deps: []string{"k8s.io/api/core/v1", "k8s.io/client-go/rest"}},
			findings: []string{"./injector imports k8s.io/client-go/rest"},
			keeps:    pkg{ImportPath: "./webhook", Deps: []string{"sigs.k8s.io/controller-runtime/pkg/webhook"}},
		},
		{
			rule:     "what the pod's programs import is small",
			breaks:   pkg{ImportPath: "./lifecycle", Deps: []string{"time", "k8s.io/apimachinery/pkg/api/resource"}},
			findings: []string{"./lifecycle imports k8s.io/apimachinery/pkg/api/resource"},
			keeps:    pkg{ImportPath: "./iptables", Deps: []string{"net/netip", "unicode/utf8", "./lifecycle"}},
		},
		{
			rule:     "pillion-init carries netlink and nothing else",
			breaks:   pkg{ImportPath: "./cmd/pillion-init", Deps: []string{"os", "net/http", "./bootstrap"}},
			findings: []string{"./cmd/pillion-init imports net/http", "./cmd/pillion-init imports ./bootstrap"},
			keeps:    pkg{ImportPath: "./netfilter", Deps: []string{"os/exec", "github.com/google/nftables", "./iptables"}},
		},
		{
			rule:     "the webhook calls no API server",
			breaks:   pkg{ImportPath: "./cmd/pillion-webhook", Imports: []string{"k8s.io/client-go/rest", "sigs.k8s.io/controller-runtime"}},
			findings: []string{"./cmd/pillion-webhook imports k8s.io/client-go/rest", "./cmd/pillion-webhook imports sigs.k8s.io/controller-runtime"},
			keeps:    pkg{ImportPath: "./webhook", Imports: []string{"sigs.k8s.io/controller-runtime/pkg/webhook"}, Deps: []string{"k8s.io/client-go/rest"}},
		},
		{
			rule:     "Envoy's messages are in one room",
			breaks:   pkg{ImportPath: "./bootstrap", Imports: []string{"github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"}},
			findings: []string{"./bootstrap imports github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"},
			keeps:    pkg{ImportPath: "./envoy", Imports: []string{"github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"}},
		},
		{
			rule:     "what is in every pod, or on the way of an admission, carries no messages of Envoy's",
			breaks:   pkg{ImportPath: "./cmd/pillion-proxy", Deps: []string{"./bootstrap", "./envoy", "github.com/envoyproxy/go-control-plane/envoy/type/v3"}},
			findings: []string{"./cmd/pillion-proxy imports ./envoy", "./cmd/pillion-proxy imports github.com/envoyproxy/go-control-plane/envoy/type/v3"},
			keeps:    pkg{ImportPath: "./cmd/pillionctl", Deps: []string{"./envoy", "github.com/envoyproxy/go-control-plane/envoy/type/v3"}},
		},
		{
			rule:     "no templates over pod data",
			breaks:   pkg{ImportPath: "./webhook", Imports: []string{"html/template"}},
			findings: []string{"./webhook imports html/template"},
			keeps:    pkg{ImportPath: "./hack/demo", Imports: []string{"text/template"}},
		},
	}
	shown := map[string]bool{}
	for _, test := range tests {
		shown[test.rule] = true
	}
	for _, rule := range importRules {
		if !shown[rule.name] {
			t.Errorf("the rule %q has no example here that breaks it", rule.name)
		}
	}
	for _, test := range tests {
		t.Run(test.rule, func(t *testing.T) {
			rule := ruleNamed(t, test.rule)
			if diff := cmp.Diff(test.findings, rule.findings([]pkg{test.breaks})); diff != "" {
				t.Errorf("a package that breaks the rule (-want +got):\n%s", diff)
			}
			if findings := rule.findings([]pkg{test.keeps}); findings != nil {
				t.Errorf("a package that keeps the rule is blamed: %q", findings)
			}
		})
	}
}

func ruleNamed(t *testing.T, name string) importRule {
	t.Helper()
	for _, rule := range importRules {
		if rule.name == name {
			return rule
		}
	}
	t.Fatalf("there is no rule %q", name)
	return importRule{}
}

func TestRoomAndNameRulesCanFail(t *testing.T) {
	if got := unknownRooms([]pkg{{ImportPath: "./sidecars"}, {ImportPath: "./injector"}, {ImportPath: "."}}); len(got) != 1 {
		t.Errorf("one package of three is in no room, found %q", got)
	}
	if got := vagueNames([]pkg{{Name: "helpers"}, {Name: "injector"}}); len(got) != 1 {
		t.Errorf("one package of two has a vague name, found %q", got)
	}
}

func TestSourceRulesCanFail(t *testing.T) {
	const long = "\n// a line"
	tests := []struct {
		name, path, source string
		findings           []string
	}{
		{"clock in a pure room", "injector/a.go", "package injector\nimport \"time\"\nvar t = time.Now()\n",
			[]string{"injector/a.go:3: reads the clock: a pure room is given the time"}},
		{"clock under another name", "manifest/a.go", "package manifest\nimport clock \"time\"\nvar t = clock.Since\n",
			[]string{"manifest/a.go:3: reads the clock: a pure room is given the time"}},
		{"clock in an edge", "webhook/a.go", "package webhook\nimport \"time\"\nvar t = time.Now()\n", nil},
		{"clock in a test", "injector/a_test.go", "package injector\nimport \"time\"\nvar t = time.Now()\n", nil},
		{"another Now", "injector/a.go", "package injector\nimport \"time\"\nvar d time.Duration\nvar t = request.Now()\n", nil},
		{"init in an edge", "webhook/a.go", "package webhook\nfunc init() {}\n",
			[]string{"webhook/a.go:2: func init: what runs before main cannot be seen or tested; call it"}},
		{"a method named init", "webhook/a.go", "package webhook\nfunc (s server) init() {}\n", nil},
		{"long", "hack/a.go", "package a" + strings.Repeat(long, maxLines) + "\n",
			[]string{"hack/a.go: 401 lines: split it below 400 by what belongs together"}},
		{"long test", "hack/a_test.go", "package a" + strings.Repeat(long, maxLines) + "\n",
			[]string{"hack/a_test.go: 401 lines: split it below 400 by what belongs together"}},
		{"long but generated", "hack/a.go", "// Code generated by b. DO NOT EDIT.\n\npackage a" + strings.Repeat(long, maxLines) + "\n", nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.findings, sourceFindings(t, test.path, []byte(test.source))); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}
