package meshservice

import (
	"os"
	"path/filepath"
	"regexp"
	"testing"
)

// TestPagesNameRealMetrics: what the pages for owners tell to watch is what
// TestStatistics finds on the status port of a real pod.
func TestPagesNameRealMetrics(t *testing.T) {
	known := promised()
	// With all details only, see TestStatistics.
	known["envoy_cluster_upstream_cx_total"], known["envoy_cluster_upstream_cx_active"] = "", ""
	for label := range map[string]bool{"envoy_cluster_name": true, "envoy_response_code_class": true, "envoy_local_http_ratelimit_prefix": true} {
		known[label] = ""
	}
	pages, err := filepath.Glob("../../docs/services/*.md")
	if err != nil || len(pages) < 10 {
		t.Fatalf("%d pages, %v", len(pages), err)
	}
	named := 0
	for _, path := range pages {
		page, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range regexp.MustCompile(`\benvoy_[a-z_]+`).FindAllString(string(page), -1) {
			named++
			if _, ok := known[name]; !ok {
				t.Errorf("%s tells to watch %s, and no test finds that in a pod", path, name)
			}
		}
	}
	if named < 20 {
		t.Errorf("only %d metrics are named", named)
	}
}
