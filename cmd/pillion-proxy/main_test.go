package main

import (
	"debug/elf"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

// How the commands work with a real Envoy, e2e/dataplane tests. Here is what they do
// with their arguments, and what the program is.

// folder holds the program as it is shipped.
var folder = filepath.Join(os.TempDir(), "pillion-proxy-test-"+time.Now().Format("150405.000000"))

func TestMain(m *testing.M) { sandbox.Main(m, func() { _ = os.RemoveAll(folder) }) }

var build = sync.OnceValue(func() error {
	command := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", folder+"/pillion-proxy", ".")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		return &os.PathError{Op: "building", Path: string(output), Err: err}
	}
	return nil
})

func program(t *testing.T) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return folder + "/pillion-proxy"
}

// mostBytes is what a copy of it in each pod's volume may cost.
const mostBytes = 8 << 20

// The program runs in any image of Envoy, so it needs no library of the image.
func TestProgram(t *testing.T) {
	path := program(t)
	file, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if libraries, err := file.ImportedLibraries(); err != nil || len(libraries) > 0 {
		t.Errorf("it needs %q, %v", libraries, err)
	}
	for _, part := range file.Progs {
		if part.Type == elf.PT_INTERP {
			t.Error("it needs a dynamic linker")
		}
	}
	info, err := os.Stat(path)
	if err != nil || info.Size() > mostBytes {
		t.Errorf("%v, %d bytes, want %d at most", err, info.Size(), mostBytes)
	}
	t.Logf("%.1f MB", float64(info.Size())/1e6)
}

// runLine is a whole command line of run, but for what a test puts behind it.
func runLine(more ...string) []string {
	return append([]string{
		"run", "--service=checkout", "--inbound-port=15006", "--outbound-port=15001", "--status-port=15020", "--concurrency=2", "--log-level=info",
		"--drain-time=20s", "--ipv6=true", "--upstream-age=240s", "--upstream-idle=4s", "--downstream-age=300s",
	}, more...)
}

// TestCommandLines holds exit codes, and what is said where: kubectl describe shows
// the last words only.
func TestCommandLines(t *testing.T) {
	p := sandbox.NewPod(t, "pod")
	for name, test := range map[string]struct {
		arguments []string
		code      int
		says      string
		last      string // the beginning of the last words
	}{
		"nothing":             {nil, 2, "pillion-proxy runs beside Envoy", ""},
		"help":                {[]string{"help"}, 0, "pillion-proxy drain ARGUMENTS", ""},
		"version":             {[]string{"version"}, 0, "pillion-proxy ", ""},
		"no such command":     {[]string{"restart"}, 2, "Exit codes: ", "pillion-proxy restart: no such command"},
		"run without":         {[]string{"run"}, 2, "Exit codes: ", "pillion-proxy run: reading arguments: --service is missing"},
		"run with a typo":     {runLine("--status=1"), 2, "Exit codes: ", `pillion-proxy run: reading argument "--status=1": no such option`},
		"wait without":        {[]string{"wait"}, 2, "", "pillion-proxy wait: reading arguments: --timeout is missing"},
		"wait for ever":       {[]string{"wait", "--timeout=x", "--status-port=1"}, 2, "", `pillion-proxy wait: reading argument "--timeout=x": "x" must be a number of seconds`},
		"nobody to wait for":  {[]string{"wait", "--timeout=1s", "--status-port=15020"}, 1, "does not answer", "waiting for Envoy to serve: not within 1s: pillion-proxy run does not answer on its status port: dial tcp 127.0.0.1:15020: connect: connection refused"},
		"drain without":       {[]string{"drain"}, 2, "", "pillion-proxy drain: reading arguments: --pre-drain-delay is missing"},
		"nothing to drain":    {[]string{"drain", "--pre-drain-delay=60s", "--drain-time=60s"}, 0, "pillion-proxy: nothing to drain: the admin interface of Envoy does not answer: dial unix /pillion/run/admin.sock", ""},
		"an image without it": {runLine(), 1, "pillion-proxy: looking for Envoy", "looking for Envoy: the image has no program envoy"},
	} {
		t.Run(name, func(t *testing.T) {
			c := p.StartContainer(t, &corev1.Container{
				Name: "envoy", Command: append([]string{"/pillion-proxy"}, test.arguments...),
				VolumeMounts:    []corev1.VolumeMount{{Name: "pillion-run", MountPath: "/pillion/run"}},
				SecurityContext: &corev1.SecurityContext{RunAsUser: new(int64(15033)), RunAsGroup: new(int64(15033)), ReadOnlyRootFilesystem: new(true)},
			}, sandbox.Image{"/pillion-proxy": program(t)}, map[string]string{"pillion-run": t.TempDir()})
			code, words := c.Wait(t, 30*time.Second), c.TerminationMessage()
			if code != test.code || !strings.Contains(c.Logs(), test.says) {
				t.Errorf("exit code %d, want %d and %q in:\n%s", code, test.code, test.says, c.Logs())
			}
			if !strings.HasPrefix(words, test.last) || (test.last == "") != (words == "") || strings.Contains(words, "Exit codes") {
				t.Errorf("last words %q, want %q", words, test.last)
			}
		})
	}
}

// TestVersion is what a released module says of itself, never empty.
func TestVersion(t *testing.T) {
	if version() == "" {
		t.Error("no version")
	}
}
