// Command gotest runs `go test` with the arguments it is given and prints what a
// person wants to read: one line for each package, the output of tests that
// failed, and by name every test that was skipped.
//
// Where none may skip (as root, with CI set) a skipped test is a failure. So is a
// run in which no test ran at all.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
)

func main() {
	if err := run(context.Background(), os.Args[1:], os.Stdout, strict(os.Getuid(), os.Getenv)); err != nil {
		fmt.Fprintln(os.Stderr, "gotest:", err)
		os.Exit(1)
	}
}

// strict says whether none may skip: .ci/run sets CI.
func strict(uid int, getenv func(string) string) bool { return uid == 0 && getenv("CI") != "" }

// run runs `go test -json ARGS`. With strict, a skipped test is an error.
func run(ctx context.Context, args []string, out io.Writer, strict bool) error {
	command := exec.CommandContext(ctx, "go", append([]string{"test", "-json"}, args...)...)
	command.Stderr = os.Stderr
	events, err := command.StdoutPipe()
	if err != nil {
		return fmt.Errorf("preparing go test: %w", err)
	}
	if err := command.Start(); err != nil {
		return fmt.Errorf("starting go test: %w", err)
	}
	summary, err := report(events, out)
	if err != nil {
		// go test must not wait for a reader that has gone.
		_, _ = io.Copy(io.Discard, events)
		return errors.Join(err, command.Wait())
	}
	if err := command.Wait(); err != nil {
		return fmt.Errorf("go test: %w", err)
	}
	return summary.verdict(strict)
}
