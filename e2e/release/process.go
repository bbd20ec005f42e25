package release

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	goruntime "runtime"
	"syscall"
	"time"
)

// process is one of our programs, running as it would in a container.
type process struct {
	command *exec.Cmd
	exited  chan error
}

// startProcess starts program; what it says goes to log. It goes on until stop,
// which a caller that was interrupted calls as well.
func startProcess(ctx context.Context, log io.Writer, program string, arguments ...string) (*process, error) {
	p := &process{command: exec.CommandContext(context.WithoutCancel(ctx), program, arguments...), exited: make(chan error, 1)}
	p.command.Stdout, p.command.Stderr = log, log
	// A test that is killed calls no stop, so the kernel has to.
	p.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error, 1)
	go func() {
		// The kernel takes the end of the thread that started a program for the
		// parent's end: hold it.
		goruntime.LockOSThread()
		err := p.command.Start()
		started <- err
		if err == nil {
			p.exited <- p.command.Wait()
		}
	}()
	return p, <-started
}

// stop ends the process as kubelet does, and waits for it. A second call does the
// same as the first.
func (p *process) stop() error {
	if err := p.command.Process.Signal(syscall.SIGTERM); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	err := <-p.exited
	p.exited <- err
	if err != nil {
		return fmt.Errorf("it ended: %w", err)
	}
	return nil
}

// kill ends the process without a word, and says how it ended.
func (p *process) kill() error {
	if err := p.command.Process.Kill(); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	err := <-p.exited
	p.exited <- err
	return err
}

// waitReady asks /readyz as kubelet would, until the answer is 200 or the process
// ends.
func (p *process) waitReady(ctx context.Context, statusURL string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if ready(ctx, statusURL+"/readyz") {
			return nil
		}
		select {
		case err := <-p.exited:
			p.exited <- err
			return errors.New("the program ended before it was ready; see its log")
		case <-ctx.Done():
			return fmt.Errorf("the program was not ready in time: %w", context.Cause(ctx))
		case <-tick.C:
		}
	}
}

func ready(ctx context.Context, url string) bool {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return false
	}
	defer response.Body.Close()
	return response.StatusCode == http.StatusOK
}
