// Command pillion-proxy is the first process of the sidecar container, and its hooks.
// The webhook writes its command lines: see package lifecycle.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/pillion-mesh/pillion/lifecycle"
	"github.com/pillion-mesh/pillion/proxy"
)

const usage = `pillion-proxy runs beside Envoy in the sidecar container.

  pillion-proxy run ARGUMENTS [-- ENVOY'S OWN]   prepares and supervises Envoy; the container's first process
  pillion-proxy wait ARGUMENTS                   returns when Envoy serves, and fails when that takes too long
  pillion-proxy drain ARGUMENTS                  tells clients to go elsewhere, and returns when they have
  pillion-proxy version

While Envoy runs, run applies what the service's MeshService was rendered to, from the file generation.json in /pillion/mesh,
and takes it back when the file goes. On its status port it answers GET /healthz, /readyz, /metrics, and /status: as JSON, which
generation runs, which is wanted, and whether that is applied or why not.

ARGUMENTS are --name=value. Pillion's webhook writes them; without them each command says which it misses.

Exit codes: 0 done, or Envoy ended as it was told to; 2 wrong arguments; 1 anything else that failed, but for
run, where it is Envoy's own: its exit code, or 128 and the number of the signal that ended it.
`

// terminationLog is kubelet's default terminationMessagePath.
const terminationLog proxy.LastWords = "/dev/termination-log"

const (
	failed     = 1
	wrongUsage = 2
)

func main() { os.Exit(run(os.Args[1:])) }

func run(arguments []string) int {
	if len(arguments) == 0 {
		fmt.Fprint(os.Stderr, usage)
		return wrongUsage
	}
	command, arguments := arguments[0], arguments[1:]
	switch command {
	case "run":
		of, err := lifecycle.ParseRun(arguments)
		if err != nil {
			return wrong(command, err)
		}
		return supervise(of)
	case "wait":
		of, err := lifecycle.ParseWait(arguments)
		if err != nil {
			return wrong(command, err)
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		if err := proxy.Wait(ctx, of, terminationLog); err != nil {
			fmt.Fprintf(os.Stderr, "pillion-proxy: %v\n", err)
			return failed
		}
		return 0
	case "drain":
		of, err := lifecycle.ParseDrain(arguments)
		if err != nil {
			return wrong(command, err)
		}
		ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
		defer stop()
		proxy.Drain(ctx, of, lifecycle.RunDir, os.Stdout)
		return 0
	case "version":
		fmt.Println("pillion-proxy", version())
		return 0
	case "help", "--help", "-h":
		fmt.Print(usage)
		return 0
	default:
		return wrong(command, errors.New("no such command"))
	}
}

func wrong(command string, err error) int {
	sentence := fmt.Sprintf("pillion-proxy %s: %v", command, err)
	fmt.Fprintf(os.Stderr, "%s\n\n%s", sentence, usage)
	terminationLog.Write(sentence)
	return wrongUsage
}

func supervise(of lifecycle.Run) int {
	sidecar := &proxy.Sidecar{
		Run: of, Folder: lifecycle.RunDir, MeshFolder: lifecycle.MeshDir,
		PodName: os.Getenv("POD_NAME"), PodNamespace: os.Getenv("POD_NAMESPACE"), NodeName: os.Getenv("NODE_NAME"),
		APIServer: os.Getenv("KUBERNETES_SERVICE_HOST"),
		Version:   version(), Stdout: os.Stdout, Stderr: os.Stderr, LastWords: terminationLog,
	}
	return sidecar.Supervise(proxy.Signals())
}

// version is that of the module, which Go takes from git.
func version() string {
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	return info.Main.Version
}
