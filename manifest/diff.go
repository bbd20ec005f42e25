package manifest

import (
	"strings"

	"github.com/aymanbagabas/go-udiff"
)

// Diff is the unified diff between two texts, with three lines of context, under
// the names that are given; empty where they are the same. Color makes it fit for
// a terminal.
func Diff(fromName, toName, from, to string) string {
	return udiff.Unified(fromName, toName, from, to)
}

// Color puts ANSI colors around the lines of a unified diff: red for what goes,
// green for what comes, cyan for where.
func Color(diff string) string {
	var out strings.Builder
	for line := range strings.Lines(diff) {
		text := strings.TrimSuffix(line, "\n")
		code := colorOf(text)
		if code == "" {
			out.WriteString(line)
			continue
		}
		out.WriteString("\x1b[" + code + "m" + text + "\x1b[0m" + line[len(text):])
	}
	return out.String()
}

func colorOf(line string) string {
	switch {
	case strings.HasPrefix(line, "--- "), strings.HasPrefix(line, "+++ "):
		return "1"
	case strings.HasPrefix(line, "@@"):
		return "36"
	case strings.HasPrefix(line, "-"):
		return "31"
	case strings.HasPrefix(line, "+"):
		return "32"
	}
	return ""
}
