// Pillionctl shows and explains what Pillion does to a pod, from manifests, without a
// cluster, and which pods of a cluster have their sidecar. As kubectl-pillion in PATH it is `kubectl pillion` as well.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"
)

func main() {
	p := program{
		name: filepath.Base(os.Args[0]), in: os.Stdin, out: os.Stdout, errors: os.Stderr,
		now: time.Now(), color: wantsColor(os.Stdout, os.Getenv),
	}
	os.Exit(p.run(os.Args[1:]))
}

// program is pillionctl with what it has of the world.
type program struct {
	// name that it was called by.
	name        string
	in          io.Reader
	out, errors io.Writer
	now         time.Time
	// color says whether out can show colors; --color overrides it.
	color bool
}

// The exit statuses.
const (
	exitOK = iota
	// exitFindings: it ran, and found something that has to be corrected.
	exitFindings
	// exitFailed: it could not run.
	exitFailed
)

const exitHelp = `Exit status:
  0  done, nothing to correct
  1  findings: a pod was refused, a document is not valid (broken YAML too), a
     name is not known
  2  could not run: wrong usage, a file that cannot be read or is empty`

// findings is an error about what was looked at, not about looking at it.
type findings struct{ error }

func (f findings) Unwrap() error { return f.error }

// run returns the exit status.
func (p *program) run(args []string) int {
	root := p.command()
	root.SetArgs(args)
	err := root.Execute()
	if err == nil {
		return exitOK
	}
	fmt.Fprintf(p.errors, "%s: %v\n", p.name, err)
	if found := (findings{}); errors.As(err, &found) {
		return exitFindings
	}
	return exitFailed
}

// wantsColor says whether a file is a terminal that shows colors, to somebody who
// did not say that they want none (https://no-color.org).
func wantsColor(out *os.File, env func(string) string) bool {
	info, err := out.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && env("NO_COLOR") == "" && env("TERM") != "dumb"
}
