package node

import (
	"context"
	"slices"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
)

// problems are the ids of the checks that found one, and how the program ended.
func problems(t *testing.T, args ...string) (ids []string, code int, output string) {
	t.Helper()
	output, code = pillionctl(t, append([]string{"check", "-o", "json"}, args...)...)
	var checks []struct{ ID, Result string }
	text, _, _ := strings.Cut(output, "\npillionctl: ") // what is said on the other channel
	if err := json.Unmarshal([]byte(text), &checks, json.MatchCaseInsensitiveNames(true)); err != nil {
		t.Fatalf("%v: %s", err, output)
	}
	for _, c := range checks {
		if c.Result == "problem" {
			ids = append(ids, c.ID)
		}
	}
	return ids, code, output
}

// TestCheck: a release that runs on a node has no problem and nothing that could not be
// looked at; one whose webhook is scaled away is found out in every phase that shows it.
func TestCheck(t *testing.T) {
	ns := newNamespace(t, "checked", optedIn)
	newNamespace(t, "checked-strict", optedIn, "pillion.dev/strict=true")
	apply(t, ns, web)
	eventually(t, "a release that works is found to work", func() bool {
		ids, code, _ := problems(t, "-n", ns)
		return code == 0 && len(ids) == 0
	})
	if _, _, output := problems(t, "-n", ns); strings.Contains(output, `"unknown"`) {
		t.Errorf("not everything was looked at: %s", output)
	}
	kubectl(t, "-n", release, "scale", "deployment/pillion-webhook", "--replicas=0")
	// Replicas that are told to stop go on answering on connections that are open.
	kubectl(t, "-n", release, "delete", "pods", "-l", "app.kubernetes.io/component=webhook", "--force", "--grace-period=0")
	t.Cleanup(func() {
		if output, err := tryKubectl(context.Background(), "", "-n", release, "scale", "deployment/pillion-webhook", "--replicas=2"); err != nil {
			t.Error(output)
		}
	})
	want := []string{"webhook-available", "service-endpoints", "call-tcp", "call-injects"}
	var ids []string
	var output string
	eventually(t, "a webhook that is gone is found", func() bool {
		ids, _, output = problems(t)
		return slices.Equal(ids, want)
	})
	t.Logf("the problems are %q", ids)
	if !strings.Contains(output, "no endpoints available") && !strings.Contains(output, "connection refused") {
		t.Errorf("kube-apiserver's own words are not there: %s", output)
	}
	kubectl(t, "-n", release, "scale", "deployment/pillion-webhook", "--replicas=2")
	rolledOut(t, release, "deployment/pillion-webhook")
	if output, code := pillionctl(t, "check", "--wait", "1m"); code != 0 {
		t.Errorf("waiting for it, check ended with %d: %s", code, output)
	}
	if output, code := pillionctl(t, "why", "deploy/web", "-n", ns); code != 0 || !strings.Contains(output, "comes back with a sidecar of version") {
		t.Errorf("why ended with %d: %s", code, output)
	}
}
