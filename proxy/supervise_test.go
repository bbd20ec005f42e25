package proxy

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/bootstrap"
	realenvoy "github.com/pillion-mesh/pillion/e2e/envoy"
	"github.com/pillion-mesh/pillion/e2e/sandbox"
	"github.com/pillion-mesh/pillion/lifecycle"
)

// sidecarEnv makes the test binary a sidecar's first process: it reaps every child, so
// it must not be the tests' own process.
const sidecarEnv = "PILLION_TEST_SIDECAR"

func TestMain(m *testing.M) {
	if encoded := os.Getenv(sidecarEnv); encoded != "" {
		os.Exit(superviseInstead(encoded))
	}
	sandbox.Main(m)
}

// command is what such a process is told.
type command struct {
	Run                          lifecycle.Run
	Folder, EnvoyPath, LastWords string
	// MeshFolder is where generations are put; empty for a place that is not there.
	MeshFolder, Namespace string
	// MemoryGroup is the folder of a control group that it is to be in; empty for none.
	MemoryGroup string
	// ProvenAfter is a Sidecar's provenAfter.
	ProvenAfter time.Duration
}

func superviseInstead(encoded string) int {
	var of command
	if err := json.Unmarshal([]byte(encoded), &of); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 99
	}
	if of.MemoryGroup != "" {
		if err := enterMemoryGroup(of.MemoryGroup); err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 99
		}
	}
	s := &Sidecar{Run: of.Run, Folder: of.Folder, MeshFolder: of.MeshFolder, PodNamespace: of.Namespace, EnvoyPath: of.EnvoyPath, Version: "v1", Stdout: os.Stdout, Stderr: os.Stderr, LastWords: LastWords(of.LastWords), provenAfter: of.ProvenAfter}
	return s.Supervise(Signals())
}

// process is a sidecar's first process with a real Envoy, in a pod.
type process struct {
	command
	pod  *sandbox.Pod
	cmd  *exec.Cmd
	done chan struct{}
	// stderr is the reading end of its log, which nobody closes but a test.
	stderr *os.File

	mutex sync.Mutex
	log   bytes.Buffer
}

func start(t *testing.T, p *sandbox.Pod, change func(*command)) *process {
	t.Helper()
	s := &process{pod: p, done: make(chan struct{}), command: command{
		Run: lifecycle.Run{
			Service: "shop/checkout", InboundPort: 15006, OutboundPort: 15001, StatusPort: 15020, Concurrency: 1,
			LogLevel: "warning", DrainTime: 20 * time.Second, IPv6: true,
		},
		Folder: t.TempDir(), EnvoyPath: realenvoy.Path(t),
	}}
	s.LastWords = filepath.Join(t.TempDir(), "last-words")
	if err := os.WriteFile(s.LastWords, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if change != nil {
		change(&s.command)
	}
	encoded, err := json.Marshal(s.command)
	if err != nil {
		t.Fatal(err)
	}
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	// A container runtime may start it with fewer files than it may have.
	s.cmd = exec.Command("/bin/sh", "-c", `ulimit -S -n 1234 && exec "$0"`, self)
	s.cmd.Env = append(os.Environ(), sidecarEnv+"="+string(encoded))
	s.cmd.Stderr, s.stderr = writer, reader
	if s.MemoryGroup != "" {
		s.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWNS}
	}
	if err := p.Start(s.cmd); err != nil {
		t.Fatal(err)
	}
	_ = writer.Close()
	go s.read()
	go func() { defer close(s.done); _ = s.cmd.Wait() }()
	t.Cleanup(func() {
		_ = s.cmd.Process.Kill()
		<-s.done
		if t.Failed() {
			t.Logf("its log:\n%s", s.logged())
		}
	})
	return s
}

func (s *process) read() {
	for part := make([]byte, 4096); ; {
		n, err := s.stderr.Read(part)
		s.mutex.Lock()
		s.log.Write(part[:n])
		s.mutex.Unlock()
		if err != nil {
			return
		}
	}
}

func (s *process) logged() string {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.log.String()
}

// ended is the exit code and the last words.
func (s *process) ended(t *testing.T, longest time.Duration) (int, string) {
	t.Helper()
	select {
	case <-s.done:
	case <-time.After(longest):
		t.Fatalf("it runs on after %s", longest)
	}
	words, _ := os.ReadFile(s.LastWords)
	return s.cmd.ProcessState.ExitCode(), string(words)
}

// get asks the status port from the node.
func (s *process) get(t *testing.T, path string) (int, string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 20 * time.Second}
	response, err := client.Get("http://" + net.JoinHostPort(s.pod.IPv4.String(), strconv.Itoa(int(s.Run.StatusPort))) + path)
	if err != nil {
		return 0, err.Error()
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

func (s *process) waitReady(t *testing.T) {
	t.Helper()
	eventually(t, "it is ready", func() (string, bool) {
		code, body := s.get(t, "/readyz")
		return body, code == http.StatusOK
	})
}

// envoy is the number of the process.
func (s *process) envoy(t *testing.T) int {
	t.Helper()
	tasks, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.cmd.Process.Pid))
	for _, path := range tasks {
		content, _ := os.ReadFile(path)
		if fields := strings.Fields(string(content)); len(fields) > 0 {
			pid, err := strconv.Atoi(fields[0])
			if err != nil {
				t.Fatal(err)
			}
			return pid
		}
	}
	t.Fatal("it has no Envoy")
	return 0
}

// eventually fails the test unless something becomes true within a generous time.
func eventually(t *testing.T, what string, is func() (seen string, yes bool)) {
	t.Helper()
	seen := ""
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		var yes bool
		if seen, yes = is(); yes {
			return
		}
	}
	t.Fatalf("not within 20s: %s; last seen: %s", what, seen)
}

// Envoy gets all files that it may have, and never outlives the process that drains it,
// which is not always first in its container's process namespace.
func TestEnvoyDiesWithItsSupervisor(t *testing.T) {
	t.Parallel()
	p := sandbox.NewPod(t, "pod")
	s := start(t, p, nil)
	s.waitReady(t)
	pid := s.envoy(t)
	limits, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(limits)) {
		if fields := strings.Fields(line); strings.HasPrefix(line, "Max open files") && fields[3] != fields[4] {
			t.Errorf("Envoy may open %s files of %s", fields[3], fields[4])
		}
	}
	if err := s.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "Envoy is gone", func() (string, bool) { return "", errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) })
}

// A terminal that hangs up and a reader of logs that has gone end nothing.
func TestLogsWithoutReader(t *testing.T) {
	t.Parallel()
	s := start(t, sandbox.NewPod(t, "pod"), func(c *command) { c.Run.LogLevel = "debug" })
	s.waitReady(t)
	_ = s.stderr.Close()
	pid := s.envoy(t)
	for range 3 {
		if err := errors.Join(s.cmd.Process.Signal(syscall.SIGHUP), s.cmd.Process.Signal(syscall.SIGUSR1)); err != nil {
			t.Error(err)
		}
		// Each of these is written to the log, at this level.
		if code, body := s.get(t, "/readyz"); code != http.StatusOK {
			t.Errorf("/readyz: HTTP %d %s", code, body)
		}
	}
	if now := s.envoy(t); now != pid {
		t.Errorf("Envoy was process %d and is %d", pid, now)
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	if code, words := s.ended(t, 20*time.Second); code != 0 || words != "" {
		t.Errorf("exit code %d, last words %q", code, words)
	}
}

// TestEnvoyHangs: that is said, keeps nobody waiting, and does not keep the pod.
func TestEnvoyHangs(t *testing.T) {
	t.Parallel()
	s := start(t, sandbox.NewPod(t, "pod"), nil)
	s.waitReady(t)
	if err := syscall.Kill(s.envoy(t), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	eventually(t, "/readyz says so", func() (string, bool) {
		code, body := s.get(t, "/readyz")
		return body, code == http.StatusServiceUnavailable && strings.Contains(body, "has not answered in time: its main thread hangs")
	})
	if code, _ := s.get(t, "/healthz"); code != http.StatusOK {
		t.Errorf("/healthz: HTTP %d", code)
	}
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	var out strings.Builder
	began := time.Now()
	Drain(t.Context(), lifecycle.Drain{PreDrainDelay: time.Minute, DrainTime: time.Minute}, s.Folder, &out)
	if took := time.Since(began); took > 20*time.Second || !strings.Contains(out.String(), "nothing to drain: the admin interface of Envoy ") {
		t.Errorf("drain took %s: %s", took, out.String())
	}
	if code, words := s.ended(t, 30*time.Second); code != 0 || words != "" || !strings.Contains(s.logged(), "Envoy did not end within 5s of being told to (terminated), and was killed") {
		t.Errorf("exit code %d, last words %q", code, words)
	}
}

// TestPortsAreTaken: whoever has one of ours, the sentence has the port.
func TestPortsAreTaken(t *testing.T) {
	t.Parallel()
	t.Run("status", func(t *testing.T) {
		p := sandbox.NewPod(t, "pod")
		p.Listen(t, "tcp", ":15020")
		code, words := start(t, p, nil).ended(t, 20*time.Second)
		if code != 1 || !strings.HasPrefix(words, "listening on the status port 15020: listen tcp :15020: bind: address already in use: nothing else") {
			t.Errorf("exit code %d, last words %q", code, words)
		}
	})
	t.Run("inbound", func(t *testing.T) {
		p := sandbox.NewPod(t, "pod")
		p.Listen(t, "tcp", ":15006")
		s := start(t, p, nil)
		want := []string{"(LDS) are not loaded: Envoy rejected them 1 times", "the listener inbound is not active"}
		eventually(t, "/readyz says which", func() (string, bool) {
			code, body := s.get(t, "/readyz")
			return body, code == http.StatusServiceUnavailable && strings.Contains(body, want[0]) && strings.Contains(body, want[1])
		})
	})
}

// TestPartsNeverCome: each is named, by a real Envoy that does not get it.
func TestPartsNeverCome(t *testing.T) {
	t.Parallel()
	for file, want := range map[string]string{
		bootstrap.InboundRoutesFile: "the routes of the listener inbound (RDS) are not loaded",
		bootstrap.ClustersFile:      "the clusters (CDS) are not loaded: Envoy rejected them 1 times, and its log says why",
		bootstrap.ListenersFile:     "the listeners (LDS) are not loaded: Envoy rejected them 1 times, and its log says why",
	} {
		t.Run(file, func(t *testing.T) {
			t.Parallel()
			s := start(t, sandbox.NewPod(t, "pod"), func(c *command) {
				content := `{"resources": [{"@type": "type.googleapis.com/google.protobuf.Duration", "value": "1s"}]}`
				script := fmt.Sprintf("#!/bin/sh\nprintf '%%s' '%s' > %s/%s\nexec %s \"$@\"\n", content, c.Folder, file, c.EnvoyPath)
				c.EnvoyPath = filepath.Join(t.TempDir(), "envoy")
				if err := os.WriteFile(c.EnvoyPath, []byte(script), 0o755); err != nil {
					t.Fatal(err)
				}
			})
			eventually(t, want, func() (string, bool) {
				code, body := s.get(t, "/readyz")
				return body, code == http.StatusServiceUnavailable && strings.Contains(body, want)
			})
		})
	}
}

// appIn listens in a pod as an app does, with a user of its own.
func appIn(t *testing.T, p *sandbox.Pod) net.Listener {
	t.Helper()
	listener := p.Listen(t, "tcp", ":8080")
	file, err := listener.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if err := file.Chown(1000, 1000); err != nil {
		t.Fatal(err)
	}
	return listener
}

// TestEndsWhileItStays: Envoy, that was told nothing yet, can still end of its own, and
// that is no good end.
func TestEndsWhileItStays(t *testing.T) {
	t.Parallel()
	staying := func(t *testing.T) (*process, net.Listener) {
		t.Helper()
		p := sandbox.NewPod(t, "pod")
		app := appIn(t, p)
		s := start(t, p, func(c *command) { c.Run.StayForApp = true })
		s.waitReady(t)
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		eventually(t, "it stays", func() (string, bool) {
			return "", strings.Contains(s.logged(), "terminated: Envoy stays while other processes in the pod use the network")
		})
		return s, app
	}
	t.Run("killed", func(t *testing.T) {
		t.Parallel()
		s, _ := staying(t)
		if err := syscall.Kill(s.envoy(t), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		if code, words := s.ended(t, 20*time.Second); code != 137 || !strings.HasPrefix(words, "running Envoy: it was ended by signal 9 (killed)") {
			t.Errorf("exit code %d, last words %q", code, words)
		}
	})
	t.Run("the app ends", func(t *testing.T) {
		t.Parallel()
		s, app := staying(t)
		_ = app.Close()
		if code, words := s.ended(t, 20*time.Second); code != 0 || words != "" || !strings.Contains(s.logged(), "no other process in the pod uses the network any more") {
			t.Errorf("exit code %d, last words %q", code, words)
		}
	})
}
