package injector_test

import (
	"encoding/json"
	"net/netip"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/iptables"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// TestCommandLinesAreRead holds that the programs in the pod can read what is
// written for them, and read what was meant.
func TestCommandLinesAreRead(t *testing.T) {
	paths, err := filepath.Glob("testdata/cases/*.txtar")
	if err != nil {
		t.Fatal(err)
	}
	read := 0
	for _, path := range paths {
		archive, err := txtar.ParseFile(path)
		if err != nil {
			t.Fatal(err)
		}
		c := readCase(t, archive)
		if result, _ := c.inject(t, c.pod); result.Sidecar != nil {
			read++
			checkCommandLines(t, result.Sidecar)
		}
	}
	if read < 10 {
		t.Errorf("only %d cases have a sidecar", read)
	}
}

func equalPrefixes(a, b netip.Prefix) bool { return a == b }

func checkCommandLines(tb testing.TB, s *injector.Sidecar) {
	tb.Helper()
	redirect, err := iptables.ParseArgs(s.Redirect.Args())
	if err != nil || !cmp.Equal(redirect, s.Redirect.Normalize(), cmp.Comparer(equalPrefixes)) {
		tb.Errorf("pillion-init apply reads %+v (%v), and %+v was meant", redirect, err, s.Redirect)
	}
	if run, err := lifecycle.ParseRun(s.Run.Args()); err != nil || !cmp.Equal(run, s.Run) {
		tb.Errorf("pillion-proxy run reads %+v (%v), and %+v was meant", run, err, s.Run)
	}
	if wait, err := lifecycle.ParseWait(s.Wait.Args()); err != nil || wait != s.Wait {
		tb.Errorf("pillion-proxy wait reads %+v (%v), and %+v was meant", wait, err, s.Wait)
	}
	if drain, err := lifecycle.ParseDrain(s.Drain.Args()); err != nil || drain != s.Drain {
		tb.Errorf("pillion-proxy drain reads %+v (%v), and %+v was meant", drain, err, s.Drain)
	}
}

// TestLongListsAreRefused: a list takes work for each item, and becomes one
// argument, which Linux bounds.
func TestLongListsAreRefused(t *testing.T) {
	i, err := injector.New(v1alpha1.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	for name, item := range map[string]string{"reserved-inbound-ports": "10000-10001", "reserved-outbound-ports": "1", "excluded-cidrs": "2001:db8:1234:5678:9abc:def0:1234:5678/128"} {
		for n, verdict := range map[int]injector.Verdict{1000: injector.Inject, 1001: injector.Refuse} {
			value := strings.TrimSuffix(strings.Repeat(item+",", n), ",")
			raw, err := json.Marshal(map[string]any{
				"metadata": map[string]any{"labels": map[string]any{"service-mesh-enabled": "true"}, "annotations": map[string]any{"pillion.dev/" + name: value}},
				"spec":     map[string]any{"containers": []any{map[string]any{"name": "a"}}},
			})
			if err != nil {
				t.Fatal(err)
			}
			if result, _ := injectWith(t, i, injector.Namespace{Name: "shop"}, raw); result.Decision.Verdict != verdict {
				t.Errorf("%s with %d items: %s", name, n, describe(result))
			}
		}
	}
}
