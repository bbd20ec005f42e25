package controlplane

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"
)

// asChild in the environment makes the test below the process that is killed.
const asChild = "PILLION_TEST_CONTROL_PLANE_TO_BE_KILLED"

// A test that is killed, of which no deferred call runs, leaves no program behind.
func TestNothingOutlivesAKilledTest(t *testing.T) {
	if os.Getenv(asChild) != "" {
		startAndWait(t)
		return
	}
	child := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$", "-test.count=1")
	child.Env = append(os.Environ(), asChild+"=1", "TMPDIR="+t.TempDir())
	child.Stderr = t.Output()
	input, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	defer input.Close()
	output, err := child.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(output).ReadString('\n'); err != nil || line != "started\n" {
		t.Errorf("the child says %q: %v", line, err)
	}
	running := children(t, child.Process.Pid)
	if err := child.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := child.Wait(); err == nil {
		t.Error("the child ended as if it had not been killed")
	}
	checkPrograms(t, running)
	// The kernel kills them at once, and they are seen to be gone some moments later.
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for pid, program := range running {
		for alive(pid) && ctx.Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
		if alive(pid) {
			t.Errorf("%s runs on as process %d", program, pid)
		}
	}
}

func startAndWait(t *testing.T) {
	t.Helper()
	plane, err := Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	fmt.Println("started")
	// Its input ends when the test that started this one ends otherwise.
	if _, err := io.Copy(io.Discard, os.Stdin); err != nil {
		t.Error(err)
	}
	if err := plane.Stop(); err != nil {
		t.Error(err)
	}
}

// checkPrograms wants etcd and kube-apiserver among the programs, so that those that
// are gone later were there.
func checkPrograms(t *testing.T, programs map[int]string) {
	t.Helper()
	for _, want := range []string{"etcd", "kube-apiserver"} {
		found := false
		for _, program := range programs {
			found = found || program == want
		}
		if !found {
			t.Errorf("%s did not run: only %v", want, programs)
		}
	}
}

// children are the processes that a process started: the program's name by pid.
func children(t *testing.T, parent int) map[int]string {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", parent))
	if err != nil {
		t.Fatal(err)
	}
	programs := map[int]string{}
	for _, thread := range threads {
		pids, err := os.ReadFile(thread)
		if err != nil {
			continue // The thread has ended.
		}
		for field := range strings.FieldsSeq(string(pids)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				t.Fatal(err)
			}
			if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", pid)); err == nil {
				programs[pid] = strings.TrimSpace(string(name))
			}
		}
	}
	return programs
}

// alive says whether a process runs. One that has ended and that nobody asked about
// is still listed, as a zombie.
func alive(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return false
	}
	_, state, _ := strings.Cut(string(stat), ") ")
	return !slices.Contains([]string{"Z", "X"}, state[:1])
}
