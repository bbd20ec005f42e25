// Package screen prints for a person who reads it for the first time: headings,
// sentences, diffs in colour on a terminal, and what is going on while it lasts.
package screen

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// Screen is where the demo prints.
type Screen struct {
	out io.Writer
	// terminal: colours are understood, and a line can be written again.
	terminal bool
}

// New prints to a file, in colour where it is a terminal; NO_COLOR and TERM=dumb
// are honoured.
func New(out *os.File) *Screen {
	info, err := out.Stat()
	terminal := err == nil && info.Mode()&os.ModeCharDevice != 0 &&
		os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"
	return &Screen{out: out, terminal: terminal}
}

// Style is how a piece of text looks on a terminal.
type Style string

// The styles, as ANSI codes.
const (
	Plain Style = ""
	Bold  Style = "1"
	Dim   Style = "2"
	Red   Style = "31"
	Green Style = "32"
	Amber Style = "33"
	Blue  Style = "36"
)

func (s *Screen) style(style Style, text string) string {
	if !s.terminal || style == Plain {
		return text
	}
	return "\x1b[" + string(style) + "m" + text + "\x1b[0m"
}

// Heading begins a part.
func (s *Screen) Heading(text string) {
	fmt.Fprintf(s.out, "\n%s\n\n", s.style(Bold, text))
}

// Say prints a line.
func (s *Screen) Say(style Style, format string, args ...any) {
	fmt.Fprintln(s.out, s.style(style, fmt.Sprintf(format, args...)))
}

// Fact prints a name and what is to be said about it, in two columns.
func (s *Screen) Fact(style Style, name, text string) {
	fmt.Fprintf(s.out, "  %s %s\n", s.style(style, fmt.Sprintf("%-9s", name)), text)
}

// Diff prints a unified diff: what was added in green, what was removed in red.
// Long lines are cut.
func (s *Screen) Diff(diff string) {
	for line := range strings.Lines(diff) {
		line = clip(strings.TrimRight(line, "\n"), lineWidth)
		fmt.Fprintln(s.out, "  "+s.style(diffStyle(line), line))
	}
}

func diffStyle(line string) Style {
	switch {
	case strings.HasPrefix(line, "+"):
		return Green
	case strings.HasPrefix(line, "-"):
		return Red
	case strings.HasPrefix(line, "@"):
		return Blue
	}
	return Plain
}

// pause between two looks at what is going on.
const (
	terminalPause = time.Second
	plainPause    = 20 * time.Second
)

// Wait runs do and shows how long it takes; detail, where there is one, says in a
// few words where it is by now.
func (s *Screen) Wait(what string, detail func() string, do func() error) error {
	start := time.Now()
	done := make(chan struct{})
	var shown sync.WaitGroup
	shown.Go(func() { s.watch(what, detail, start, done) })
	err := do()
	close(done)
	shown.Wait()

	mark, style := "done", Green
	if err != nil {
		mark, style = "failed", Red
	}
	s.clearLine()
	s.Say(Plain, "  %s %s %s", s.style(style, mark), what, s.style(Dim, "in "+seconds(time.Since(start))))
	return err
}

func (s *Screen) watch(what string, detail func() string, start time.Time, done <-chan struct{}) {
	pause := plainPause
	if s.terminal {
		pause = terminalPause
	}
	ticker := time.NewTicker(pause)
	defer ticker.Stop()
	for {
		select {
		case <-done:
			return
		case <-ticker.C:
		}
		text := fmt.Sprintf("  ...  %s (%s)", what, seconds(time.Since(start)))
		if detail != nil {
			if now := detail(); now != "" {
				text += ": " + now
			}
		}
		s.clearLine()
		if s.terminal {
			fmt.Fprint(s.out, s.style(Dim, clip(text, progressWidth)))
		} else {
			fmt.Fprintln(s.out, text)
		}
	}
}

// clearLine forgets the line that shows what is going on.
func (s *Screen) clearLine() {
	if s.terminal {
		fmt.Fprint(s.out, "\r\x1b[K")
	}
}

// Widths in characters: of a line that is printed, and of one that is written again
// and again, which must not wrap on a narrow terminal, or it could not be cleared.
const (
	lineWidth     = 112
	progressWidth = 78
)

// clip cuts what is too long, visibly.
func clip(text string, width int) string {
	if runes := []rune(text); len(runes) > width {
		return string(runes[:width-3]) + "..."
	}
	return text
}

func seconds(d time.Duration) string {
	if d < time.Minute {
		return fmt.Sprintf("%.0f s", d.Seconds())
	}
	return fmt.Sprintf("%d min %02d s", int(d.Minutes()), int(d.Seconds())%60)
}
