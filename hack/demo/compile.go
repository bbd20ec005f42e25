package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"sync"
	"syscall"

	"github.com/pillion-mesh/pillion/hack/demo/screen"
)

// compilePart2 builds what part 2 needs; compileNode what part 3 needs on a node of its
// own, and compileImages what it needs on a cluster of the user's. They are nice: a
// person is reading the part before, whose programs run beside them.
const (
	compilePart2 = `
set -eu
hack/cluster/build helm control-plane
echo "building the webhook"
make bin/pillion-webhook
echo "building the client of the API server"
go build -o bin/demo-live ./hack/demo/live
`
	compileNode = `
set -eu
hack/packages e2e
hack/cluster/build node helm control-plane
hack/envoy/fetch
` + compileImages
	compileImages = `
echo "making the images"
make demo-images
go build -o bin/demo-node ./hack/demo/node
`
)

// compilation runs in the background until it is shown or stopped.
type compilation struct {
	cancel context.CancelFunc
	done   chan error
	output lastLines
}

// compile starts the compilation.
func compile(ctx context.Context, script string) *compilation {
	ctx, cancel := context.WithCancel(ctx)
	c := &compilation{cancel: cancel, done: make(chan error, 1)}
	command := exec.CommandContext(ctx, "nice", "-n", "10", "bash", "-c", script)
	command.Stdout, command.Stderr = &c.output, &c.output
	// A group of its own, so that the compilers end with it.
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	command.Cancel = func() error { return syscall.Kill(-command.Process.Pid, syscall.SIGTERM) }
	go func() { c.done <- command.Run() }()
	return c
}

// show waits for the compilation and shows how far it is.
func (c *compilation) show(out *screen.Screen, what string) error {
	defer c.cancel()
	return out.Wait(what, c.output.last, func() error {
		if err := <-c.done; err != nil {
			return fmt.Errorf("building what comes next: %w\n%s", err, c.output.all())
		}
		return nil
	})
}

// stop ends the compilation early.
func (c *compilation) stop() error {
	c.cancel()
	if err := <-c.done; err != nil && !isSignal(err) {
		return err
	}
	return nil
}

func isSignal(err error) bool {
	exit, ok := errors.AsType[*exec.ExitError](err)
	return ok && !exit.Exited() || errors.Is(err, context.Canceled)
}

// lastLines keeps the end of what a command prints.
type lastLines struct {
	mu    sync.Mutex
	bytes []byte
}

const keptBytes = 8 << 10

func (l *lastLines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.bytes = append(l.bytes, p...)
	if extra := len(l.bytes) - keptBytes; extra > 0 {
		l.bytes = l.bytes[extra:]
	}
	return len(p), nil
}

func (l *lastLines) all() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.bytes)
}

// last is the last whole line.
func (l *lastLines) last() string {
	lines := bytes.Split([]byte(l.all()), []byte("\n"))
	if len(lines) < 2 {
		return ""
	}
	return strings.TrimSpace(string(lines[len(lines)-2]))
}
