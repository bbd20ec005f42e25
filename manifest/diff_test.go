package manifest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiff(t *testing.T) {
	const from, to = "a\nb\nc\nd\ne\nf\ng\n", "a\nb\nc\nd\nE\n-- x\nf\ng\n"
	const want = "--- before\n+++ after\n@@ -2,6 +2,7 @@\n b\n c\n d\n-e\n+E\n+-- x\n f\n g\n"
	if diff := cmp.Diff(want, Diff("before", "after", from, to)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if got := Diff("before", "after", from, from); got != "" {
		t.Errorf("the same text differs: %q", got)
	}
}

func TestColor(t *testing.T) {
	const plain = "--- a\n+++ b\n@@ -1 +1 @@\n same\n-old\n+new\n\\ No newline at end of file"
	const want = "\x1b[1m--- a\x1b[0m\n\x1b[1m+++ b\x1b[0m\n\x1b[36m@@ -1 +1 @@\x1b[0m\n same\n" +
		"\x1b[31m-old\x1b[0m\n\x1b[32m+new\x1b[0m\n\\ No newline at end of file"
	if diff := cmp.Diff(want, Color(plain)); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
