// Package envoy finds the Envoy that tests run: see hack/envoy/fetch.
package envoy

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"testing"
)

// Path of the program. The test fails where it has not been fetched.
func Path(tb testing.TB) string {
	tb.Helper()
	_, here, _, ok := runtime.Caller(0)
	fetch := filepath.Join(filepath.Dir(here), "..", "..", "hack", "envoy", "fetch")
	if !ok || !filepath.IsAbs(fetch) {
		// A binary that was built with -trimpath does not know; it runs in a package's folder.
		fetch = "../../hack/envoy/fetch"
	}
	output, err := exec.CommandContext(tb.Context(), fetch, "--print").Output()
	if err != nil {
		tb.Fatalf("looking for Envoy: %v", err)
	}
	path := string(bytes.TrimSpace(output))
	if _, err := os.Stat(path); err != nil {
		tb.Fatalf("Envoy is not there: run hack/envoy/fetch (%v)", err)
	}
	return path
}
