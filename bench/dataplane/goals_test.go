package dataplane

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// What pillion-init is held to. Its time is not, since that would fail on a
// busy machine.
const (
	largestInit = 4 << 20 // bytes of the program
	initRSS     = 6 << 10 // KiB, with the default redirect
	longListRSS = 8 << 10 // KiB, with 1,000 reserved ports in each direction
)

func TestPillionInitIsSmall(t *testing.T) {
	info, err := os.Stat(program(t, "pillion-init"))
	if err != nil {
		t.Fatal(err)
	}
	if info.Size() > largestInit {
		t.Errorf("pillion-init has %d bytes, and %d are held", info.Size(), largestInit)
	}
}

// With the real pillion-proxy to copy and with a thousand ports, too.
func TestPillionInitIsOneSmallProcess(t *testing.T) {
	proxy, err := os.ReadFile(program(t, "pillion-proxy"))
	if err != nil {
		t.Fatal(err)
	}
	root := image(t, proxy)
	r := redirectOf(t, plainPod(t, "pod"))
	for _, test := range []struct {
		name    string
		command *exec.Cmd
		rss     int
	}{
		{"default redirect", pillionInit(root, r), initRSS}, {"1,000 reserved ports", pillionInit(root, reserving(t, r, 1000)), longListRSS},
	} {
		seen := watchInFreshNamespace(t, test.command)
		t.Logf("%s: %+v", test.name, seen)
		if seen.processes != 1 || seen.peakKiB > test.rss || seen.peakKiB == 0 {
			t.Errorf("%s: %d processes, RSS of at most %d KiB; held are 1 and %d", test.name, seen.processes, seen.peakKiB, test.rss)
		}
	}
}

// TestWatchSeesProcesses: the watch is worth something only if it can say two.
func TestWatchSeesProcesses(t *testing.T) {
	needsRoot(t)
	if seen := watchInFreshNamespace(t, exec.Command("sh", "-c", "/bin/true; /bin/true")); seen.processes != 3 {
		t.Errorf("a shell and two programs are %+v", seen)
	}
}

// seen is what a program was seen to be.
type seen struct {
	processes int
	// peakKiB is the largest resident set of any of its processes. rusage has the
	// parent's in it, which is a Go test.
	peakKiB int
}

func watchInFreshNamespace(tb testing.TB, command *exec.Cmd) seen {
	tb.Helper()
	var s seen
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		// And never unlocked: the namespace goes with the thread, which alone may trace.
		runtime.LockOSThread()
		if err = unix.Unshare(unix.CLONE_NEWNET); err == nil {
			s, err = watch(command)
		}
	}()
	<-done
	if err != nil {
		tb.Fatalf("watching %s: %v", command, err)
	}
	return s
}

// watch runs a program under ptrace, which tells of each fork, and of each end while
// the memory is still there.
func watch(command *exec.Cmd) (seen, error) {
	if command.SysProcAttr == nil {
		command.SysProcAttr = &syscall.SysProcAttr{}
	}
	command.SysProcAttr.Ptrace = true
	if err := command.Start(); err != nil {
		return seen{}, err
	}
	first := command.Process.Pid
	var status unix.WaitStatus
	if _, err := unix.Wait4(first, &status, unix.WALL, nil); err != nil {
		return seen{}, fmt.Errorf("waiting for the first stop: %w", err)
	}
	options := unix.PTRACE_O_TRACEFORK | unix.PTRACE_O_TRACEVFORK | unix.PTRACE_O_TRACECLONE | unix.PTRACE_O_TRACEEXIT | unix.PTRACE_O_EXITKILL
	if err := unix.PtraceSetOptions(first, options); err != nil {
		return seen{}, fmt.Errorf("asking for forks: %w", err)
	}
	s := seen{processes: 1}
	for pid := first; ; {
		if err := unix.PtraceCont(pid, s.stopped(pid, status)); err != nil && !errors.Is(err, unix.ESRCH) {
			return s, fmt.Errorf("letting %d go on: %w", pid, err)
		}
		for {
			var err error
			if pid, err = unix.Wait4(-1, &status, unix.WALL|unix.WNOTHREAD, nil); err != nil {
				return s, fmt.Errorf("waiting for a stop: %w", err)
			}
			if status.Stopped() {
				break
			}
			if pid == first && (!status.Exited() || status.ExitStatus() != 0) {
				return s, fmt.Errorf("it ended with %d, signal %v", status.ExitStatus(), status.Signal())
			}
			if pid == first {
				return s, nil
			}
		}
	}
}

// stopped counts what a process stopped for, and is the signal to hand to it.
func (s *seen) stopped(pid int, status unix.WaitStatus) int {
	switch status.TrapCause() {
	case unix.PTRACE_EVENT_FORK, unix.PTRACE_EVENT_VFORK:
		s.processes++
	case unix.PTRACE_EVENT_EXIT:
		s.peakKiB = max(s.peakKiB, peak(pid))
	}
	if signal := status.StopSignal(); signal != unix.SIGTRAP && signal != unix.SIGSTOP {
		return int(signal)
	}
	return 0
}

// peak is a process' largest resident set so far.
func peak(pid int) int {
	content, _ := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	_, rest, _ := strings.Cut(string(content), "VmHWM:")
	var kib int
	_, _ = fmt.Sscan(rest, &kib)
	return kib
}
