// Package sandbox runs pods for tests on one Linux machine, without a cluster: each
// in a network namespace of its own, its containers in mount and process namespaces
// of their own, with the user, the capabilities and the volumes that the pod's spec
// gives them. The kernel, its rules, Envoy and our programs are real. What is missing
// is kubelet and a container runtime.
//
// A test binary that uses it runs in a network namespace made for it, "the node":
//
//	func TestMain(m *testing.M) { sandbox.Main(m) }
//
// so nothing in it can reach the machine's own interfaces and rules, and nothing
// outlives it: namespaces, interfaces and mounts go with the process.
package sandbox

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"testing"

	"golang.org/x/sys/unix"
)

const (
	// outsideEnv carries the network namespace that the test binary was started in.
	outsideEnv = "PILLION_SANDBOX_OUTSIDE"
	// containerEnv makes the test binary the first process of a container.
	containerEnv = "PILLION_SANDBOX_CONTAINER"
)

// Main is the whole of a TestMain. As root it runs the tests on a fresh node; other
// users run them as they are, and those that need a pod are skipped. When the tests
// have run, it calls what it was given, to clean up.
func Main(m *testing.M, afterwards ...func()) {
	os.Exit(run(m, afterwards))
}

func run(m *testing.M, afterwards []func()) int {
	var err error
	status := 1
	switch {
	case os.Getenv(containerEnv) != "":
		err = becomeContainer(os.Getenv(containerEnv))
	case os.Getuid() != 0:
		return runTests(m, afterwards)
	case os.Getenv(outsideEnv) == "":
		status, err = onNode()
	default:
		if err = prepareNode(); err == nil {
			return runTests(m, afterwards)
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "sandbox:", err)
	}
	return status
}

func runTests(m *testing.M, afterwards []func()) int {
	status := m.Run()
	for _, f := range afterwards {
		f()
	}
	return status
}

// onNode runs this very program again, in namespaces of its own.
func onNode() (int, error) {
	outside, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return 1, fmt.Errorf("looking at the network namespace: %w", err)
	}
	// The child dies with this thread, so the thread must not die before the child.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	again := exec.Command("/proc/self/exe", os.Args[1:]...) //nolint:noctx // go test's own timeout ends both
	again.Env = append(os.Environ(), outsideEnv+"="+outside)
	again.Stdin, again.Stdout, again.Stderr = os.Stdin, os.Stdout, os.Stderr
	again.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNET | unix.CLONE_NEWNS, Pdeathsig: unix.SIGKILL}
	err = again.Run()
	if exit := new(exec.ExitError); errors.As(err, &exit) && exit.Exited() {
		return exit.ExitCode(), nil
	}
	if err != nil {
		return 1, fmt.Errorf("running the tests in a network namespace of their own: %w", err)
	}
	return 0, nil
}

// prepareNode makes the node's network. It refuses to where the node is not a
// namespace of ours.
func prepareNode() error {
	if err := Inside(); err != nil {
		return err
	}
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping mounts to ourselves: %w", err)
	}
	// Locks and the like of programs that think the machine is theirs.
	if err := unix.Mount("tmpfs", "/run", "tmpfs", 0, "mode=755"); err != nil {
		return fmt.Errorf("mounting a /run of our own: %w", err)
	}
	for name, value := range map[string]string{
		"net/ipv4/ip_forward": "1", "net/ipv6/conf/all/forwarding": "1", "net/ipv6/conf/default/accept_dad": "0",
	} {
		if err := os.WriteFile("/proc/sys/"+name, []byte(value), 0); err != nil {
			return fmt.Errorf("making the namespace a node: %w", err)
		}
	}
	return ip("link set lo up")
}

// Inside is an error unless this process runs in a network namespace that Main made:
// what changes rules asks before it does.
func Inside() error {
	outside := os.Getenv(outsideEnv)
	here, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		return fmt.Errorf("looking at the network namespace: %w", err)
	}
	// Where init cannot be looked at, it is somebody else's and so not ours.
	first, _ := os.Readlink("/proc/1/ns/net")
	if outside == "" || here == outside || here == first {
		return errors.New("this is the machine's own network namespace: its rules are not to be touched; let TestMain call sandbox.Main and run the tests as root")
	}
	return nil
}
