package proxy

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// envoy is the child process.
type envoy struct {
	pid int
	// ended gets how it ended, once.
	ended chan syscall.WaitStatus

	mutex sync.Mutex
	gone  bool // its number may be another process' by now
	lines []string
	// rejected counts the updates that Envoy refused, by its log, and why it did the last.
	rejected    int
	whyRejected string
	rejecting   bool          // the next line may belong to it
	read        chan struct{} // closed when all that it wrote has been read
}

// start starts Envoy. What it writes to standard error goes on to the container's,
// and its end is remembered.
func (s *Sidecar) start(path string) (*envoy, error) {
	reader, writer, err := os.Pipe()
	if err != nil {
		return nil, fmt.Errorf("making a pipe for Envoy's log: %w", err)
	}
	defer writer.Close()
	pid, err := syscall.ForkExec(path, s.arguments(path), &syscall.ProcAttr{
		Env:   os.Environ(),
		Files: []uintptr{0, s.Stdout.Fd(), writer.Fd()},
		// Envoy without pillion-proxy would serve on with nobody to drain it.
		Sys: &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL},
	})
	if err != nil {
		_ = reader.Close()
		return nil, fmt.Errorf("starting Envoy as %s: %w: is it a program for this kind of machine?", path, err)
	}
	e := &envoy{pid: pid, ended: make(chan syscall.WaitStatus, 1), read: make(chan struct{})}
	go e.passOn(reader, s.Stderr)
	go e.reap()
	return e, nil
}

// reap takes the status of every child that ends: of Envoy, and of those that the
// container's first process inherits when their parents are gone.
func (e *envoy) reap() {
	for {
		var status syscall.WaitStatus
		pid, err := syscall.Wait4(-1, &status, 0, nil)
		switch {
		case errors.Is(err, syscall.EINTR):
		case err != nil || pid == e.pid && (status.Exited() || status.Signaled()):
			e.mutex.Lock()
			e.gone = true
			e.mutex.Unlock()
			e.ended <- status
			return
		}
	}
}

func (e *envoy) signal(signal os.Signal) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if number, ok := signal.(syscall.Signal); ok && !e.gone {
		_ = syscall.Kill(e.pid, number)
	}
}

// stop tells Envoy to end, and kills it if it has not after some time.
func (e *envoy) stop(after time.Duration) {
	e.signal(syscall.SIGTERM)
	time.AfterFunc(after, func() { e.signal(syscall.SIGKILL) })
}

// keptLines of Envoy's log are shown when it ends.
const keptLines = 5

func (e *envoy) passOn(from *os.File, to io.Writer) {
	defer close(e.read)
	defer from.Close()
	// A longer line is passed on in parts.
	for reader := bufio.NewReaderSize(from, 16<<10); ; {
		line, err := reader.ReadSlice('\n')
		if len(line) > 0 {
			_, _ = to.Write(line)
			e.keep(string(line))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return
		}
	}
}

func (e *envoy) keep(line string) {
	const longest = 500
	line = strings.TrimSpace(line)
	if line == "" {
		return
	}
	e.mutex.Lock()
	defer e.mutex.Unlock()
	e.noteRejection(line)
	if len(line) > longest {
		line = line[:longest] + "..."
	}
	if e.lines = append(e.lines, line); len(e.lines) > keptLines {
		e.lines = e.lines[1:]
	}
}

// longestRejection bounds what is kept of a sentence.
const longestRejection = 1000

// noteRejection looks for what Envoy says of an update that it did not take. What is
// behind it up to the next line with a time belongs to it.
func (e *envoy) noteRejection(line string) {
	_, sentence, found := strings.Cut(line, "Filesystem config update rejected: ")
	if !found {
		_, sentence, found = strings.Cut(line, "Filesystem config update failure: ")
	}
	switch {
	case found:
		e.rejected, e.whyRejected, e.rejecting = e.rejected+1, plain(sentence), true
	case strings.HasPrefix(line, "["):
		e.rejecting = false
	case e.rejecting && len(e.whyRejected) < longestRejection:
		e.whyRejected += " " + plain(line)
	}
}

// plain is what Envoy says without what protobuf puts in so that nobody parses it:
// spaces, and a marker.
func plain(said string) string {
	words := slices.DeleteFunc(strings.Fields(said), func(w string) bool { return strings.HasPrefix(w, "goo.gle/debug") })
	// The listeners of a trial stand for those that take connections: see bootstrap.NewTrial.
	said = strings.ReplaceAll(strings.Join(words, " "), "trial_", "")
	if len(said) > longestRejection {
		said = strings.ToValidUTF8(said[:longestRejection], "") + "..."
	}
	return said
}

func (e *envoy) rejections() (count int, last string) {
	e.mutex.Lock()
	defer e.mutex.Unlock()
	return e.rejected, e.whyRejected
}

// lastLines is the end of Envoy's log, to be put behind a sentence.
func (e *envoy) lastLines() string {
	select {
	case <-e.read:
	case <-time.After(time.Second): // something else holds the pipe open
	}
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if len(e.lines) == 0 {
		return "; it wrote nothing to its log"
	}
	return ". The end of its log:\n" + strings.Join(e.lines, "\n")
}
