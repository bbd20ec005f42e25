package proxy

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

const (
	groups2 = "/sys/fs/cgroup"
	groups1 = groups2 + "/memory"
)

// memoryGroup makes a control group with a limit, below the tests' own.
func memoryGroup(t *testing.T, limit int) string {
	t.Helper()
	parents, limits := groups2, "memory.max"
	if _, err := os.Stat(groups2 + "/cgroup.controllers"); err != nil {
		parents, limits = groups1, "memory.limit_in_bytes"
	}
	folder := filepath.Join(parents, fmt.Sprintf("pillion-test-%d", os.Getpid()))
	if err := os.Mkdir(folder, 0o755); err != nil {
		t.Skipf("without control groups for memory nobody can be out of it: %v", err)
	}
	t.Cleanup(func() {
		eventually(t, folder+" is empty and removed", func() (string, bool) { err := os.Remove(folder); return fmt.Sprint(err), err == nil })
	})
	if err := os.WriteFile(filepath.Join(folder, limits), []byte(strconv.Itoa(limit)), 0o600); err != nil {
		t.Skipf("without control groups for memory nobody can be out of it: %v", err)
	}
	return folder
}

// enterMemoryGroup puts this process into a group and shows it that group as a
// container runtime does. It has a mount namespace of its own.
func enterMemoryGroup(folder string) error {
	shown := groups2
	if strings.HasPrefix(folder, groups1) {
		shown = groups1
	}
	return errors.Join(
		os.WriteFile(filepath.Join(folder, "cgroup.procs"), []byte("0"), 0o600),
		syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""),
		syscall.Mount(folder, shown, "", syscall.MS_BIND, ""),
	)
}

// TestOutOfMemory is told from other kills.
func TestOutOfMemory(t *testing.T) {
	t.Parallel()
	p := sandbox.NewPod(t, "pod")
	s := start(t, p, func(c *command) {
		// pillion-proxy needs far less than that and Envoy, with so many threads, far more.
		// Where both come close, the kernel may kill either.
		c.MemoryGroup, c.Run.MemoryLimit, c.Run.Concurrency = memoryGroup(t, 32<<20), 32<<20, 256
	})
	code, words := s.ended(t, 60*time.Second)
	want := "running Envoy: the kernel killed it, since the container was out of memory (its limit is 33554432 bytes): raise it with the annotation pillion.dev/memory-limit"
	if code != 137 || !strings.HasPrefix(words, want) {
		t.Errorf("exit code %d, last words %q, want %q", code, words, want)
	}
}

// TestOOMKillsIn reads what the two versions of control groups have.
func TestOOMKillsIn(t *testing.T) {
	for events, want := range map[string]int{
		"low 0\nhigh 0\nmax 12\noom 3\noom_kill 2\noom_group_kill 1\n":      2,
		"oom_kill_disable 0\nunder_oom 0\noom_kill 4\n":                     4,
		"low 0\nhigh 0\nmax 0\noom 7\noom_kill_disable 5\noom_group_kill 1": 0,
		"": 0,
	} {
		if got := oomKillsIn(events); got != want {
			t.Errorf("%d kills, want %d in %q", got, want, events)
		}
	}
}
