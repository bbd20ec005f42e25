package main

import (
	"fmt"
	"strings"
	"testing"
)

func TestLastLinesKeepsTheEnd(t *testing.T) {
	var lines lastLines
	for i := range 10_000 {
		fmt.Fprintf(&lines, "line %d\n", i)
	}
	fmt.Fprint(&lines, "half a li")
	if got := lines.last(); got != "line 9999" {
		t.Errorf("the last whole line is %q", got)
	}
	if all := lines.all(); len(all) > keptBytes || !strings.HasSuffix(all, "line 9999\nhalf a li") {
		t.Errorf("kept %d bytes that end in %q", len(all), all[len(all)-20:])
	}
}

func TestNoLineYet(t *testing.T) {
	var lines lastLines
	fmt.Fprint(&lines, "half a li")
	if got := lines.last(); got != "" {
		t.Errorf("got %q from half a line", got)
	}
}
