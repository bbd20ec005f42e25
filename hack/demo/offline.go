package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"

	"github.com/pillion-mesh/pillion/hack/demo/screen"
)

// manifest is the Deployment that part 1 injects, and part 2 as well.
const manifest = "hack/demo/manifests/checkout.yaml"

// offline shows part 1: the commands that anybody can run on a manifest of theirs.
func offline(ctx context.Context, out *screen.Screen) error {
	out.Heading("1. What becomes of a Deployment whose owner asked for a sidecar")
	diff, err := show(ctx, out, "inject", "-f", manifest, "--diff")
	if err != nil {
		return err
	}
	if !strings.Contains(diff, "name: pillion-init") || !strings.Contains(diff, "name: envoy") {
		return fmt.Errorf("pillionctl did not inject %s:\n%s", manifest, diff)
	}
	out.Diff(diff)
	out.Say(screen.Plain, "")

	why, err := show(ctx, out, "why", "-f", manifest)
	if err != nil {
		return err
	}
	// The diff has shown what comes next; the rules and ports are for another day.
	why, _, _ = strings.Cut(why, "\nAdded and changed\n")
	out.Say(screen.Plain, "%s", why)
	out.Say(screen.Dim, "(It goes on with each redirect rule and each reserved port, with the reason why.)\n")
	return nil
}

// show runs pillionctl as a person would, with the command line above it, and
// returns what it printed. What it says besides is shown at once.
func show(ctx context.Context, out *screen.Screen, args ...string) (string, error) {
	out.Say(screen.Bold, "$ bin/pillionctl %s", strings.Join(args, " "))
	command := exec.CommandContext(ctx, "bin/pillionctl", args...)
	command.Stderr = os.Stdout
	output, err := command.Output()
	if err != nil {
		return "", fmt.Errorf("bin/pillionctl %s: %w", strings.Join(args, " "), err)
	}
	return string(output), nil
}
