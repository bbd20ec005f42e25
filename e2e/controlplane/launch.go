package controlplane

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// launcher writes a program into folder that becomes the given one, and has the
// kernel kill it when the process that started it is no more. A test that is
// interrupted, killed or out of time runs none of its deferred calls, and envtest puts
// its programs into process groups of their own, where no Ctrl-C reaches them.
//
// What the program says goes to its logFile in the folder, from the last start.
func launcher(folder, program string) (string, error) {
	path := filepath.Join(folder, filepath.Base(program))
	script := fmt.Sprintf("#!/bin/sh\nexec setpriv --pdeathsig KILL -- %s \"$@\" >%s 2>&1\n",
		quoted(program), quoted(logFile(folder, filepath.Base(program))))
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		return "", fmt.Errorf("writing the launcher of %s: %w", program, err)
	}
	return path, nil
}

func logFile(folder, program string) string { return filepath.Join(folder, program+".log") }

// quoted is text as one word of a shell.
func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// parent is a thread that starts programs. What the kernel takes for the end of a
// program's parent is the end of the thread that started it, and Go ends threads as
// it likes, but for one that a goroutine holds.
type parent struct {
	work chan func()
}

func newParent() *parent {
	p := &parent{work: make(chan func())}
	go func() {
		runtime.LockOSThread()
		for f := range p.work {
			f()
		}
	}()
	return p
}

// do runs f on the thread.
func (p *parent) do(f func()) {
	done := make(chan struct{})
	p.work <- func() {
		defer close(done)
		f()
	}
	<-done
}

// end ends the thread, and what still runs of its programs.
func (p *parent) end() { close(p.work) }
