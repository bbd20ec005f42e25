package sandbox

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

// Image is what a container's root file system holds: paths in it, and the files or
// folders of the machine that stand there.
type Image map[string]string

// Base is an image with the machine's own programs and libraries, which is what a
// distribution's image has.
func Base() Image {
	image := Image{}
	for _, path := range [...]string{"/bin", "/lib", "/lib64", "/usr"} {
		if _, err := os.Lstat(path); err == nil {
			image[path] = path
		}
	}
	return image
}

// Container is one that runs, or has run.
type Container struct {
	Name string

	pod     *Pod
	uid     int
	gid     int
	command *exec.Cmd
	lastLog string
	done    chan struct{} // closed when it has ended

	mutex  sync.Mutex
	output bytes.Buffer
}

// Write keeps what the container prints.
func (c *Container) Write(p []byte) (int, error) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.output.Write(p)
}

// Logs are what `kubectl logs` would show.
func (c *Container) Logs() string {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	return c.output.String()
}

// TerminationMessage is what `kubectl describe` would show.
func (c *Container) TerminationMessage() string {
	message, _ := os.ReadFile(c.lastLog)
	return string(message)
}

// StartContainer starts a container of a pod's spec from an image, with volumes as
// given: name to folder of the machine. It is killed at the test's end.
func (p *Pod) StartContainer(tb testing.TB, of *corev1.Container, image Image, volumes map[string]string) *Container {
	tb.Helper()
	folder := tb.TempDir()
	c := &Container{Name: of.Name, pod: p, lastLog: filepath.Join(folder, "termination-log"), done: make(chan struct{})}
	s, err := p.specOf(of, image, volumes)
	if err != nil {
		tb.Fatalf("starting container %s of pod %s: %v", of.Name, p.Name, err)
	}
	s.Root, s.TerminationLog = filepath.Join(folder, "root"), c.lastLog
	c.uid, c.gid = s.UID, s.GID
	if err := errors.Join(os.Mkdir(s.Root, 0o755), writable(s.TerminationLog)); err != nil {
		tb.Fatal(err)
	}
	encoded, err := json.Marshal(s)
	if err != nil {
		tb.Fatal(err)
	}
	c.command = exec.Command("/proc/self/exe") //nolint:noctx // ended below
	c.command.Env = []string{containerEnv + "=" + string(encoded)}
	c.command.Stdout, c.command.Stderr = c, c
	// What a killed container leaves behind may hold the pipe.
	c.command.WaitDelay = time.Second
	c.command.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID}
	started, starting, err := os.Pipe()
	if err != nil {
		tb.Fatal(err)
	}
	c.command.ExtraFiles = []*os.File{starting}
	err = p.Start(c.command)
	_ = starting.Close()
	if err != nil {
		tb.Fatal(err)
	}
	go func() {
		_ = c.command.Wait()
		close(c.done)
	}()
	tb.Cleanup(func() {
		c.Signal(unix.SIGKILL)
		<-c.done
		if tb.Failed() {
			tb.Logf("container %s of pod %s ended with %d\nlast words: %s\nlogs:\n%s", c.Name, p.Name, c.ExitCode(), c.TerminationMessage(), c.Logs())
		}
	})
	why, _ := io.ReadAll(started)
	_ = started.Close()
	if len(why) > 0 {
		tb.Fatalf("starting container %s of pod %s: %s", of.Name, p.Name, why)
	}
	return c
}

// writable makes an empty file that every user may write, as kubelet does.
func writable(path string) error {
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		return err
	}
	return os.Chmod(path, 0o666)
}

func (p *Pod) specOf(of *corev1.Container, image Image, volumes map[string]string) (*spec, error) {
	s := &spec{Arguments: append(append([]string{}, of.Command...), of.Args...), Environment: []string{"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOSTNAME=" + p.Name}}
	if p.APIServer.IsValid() {
		s.Environment = append(s.Environment, "KUBERNETES_SERVICE_HOST="+p.APIServer.String(), "KUBERNETES_SERVICE_PORT=443")
	}
	// What stands in another mount comes after it.
	for _, to := range slices.Sorted(maps.Keys(image)) {
		s.Mounts = append(s.Mounts, mount{From: image[to], To: to, ReadOnly: true})
	}
	if p.DNS != nil {
		s.Mounts = append(s.Mounts, mount{p.DNS.resolvConf, "/etc/resolv.conf", true})
	}
	for _, m := range of.VolumeMounts {
		from, ok := volumes[m.Name]
		if !ok {
			return nil, fmt.Errorf("there is no volume %q", m.Name)
		}
		s.Mounts = append(s.Mounts, mount{from, m.MountPath, m.ReadOnly})
	}
	for _, variable := range of.Env {
		value := variable.Value
		if variable.ValueFrom != nil {
			value = map[string]string{
				"metadata.name": p.Name, "metadata.namespace": "default", "status.podIP": p.IPv4.String(), "spec.nodeName": "node",
			}[variable.ValueFrom.FieldRef.FieldPath]
		}
		s.Environment = append(s.Environment, variable.Name+"="+value)
	}
	security := of.SecurityContext
	if security == nil || security.RunAsUser == nil || security.RunAsGroup == nil {
		return nil, errors.New("a container here needs runAsUser and runAsGroup")
	}
	s.UID, s.GID = int(*security.RunAsUser), int(*security.RunAsGroup)
	s.ReadOnly = security.ReadOnlyRootFilesystem != nil && *security.ReadOnlyRootFilesystem
	if security.Capabilities != nil {
		for _, name := range security.Capabilities.Add {
			s.Capabilities = append(s.Capabilities, string(name))
		}
	}
	return s, nil
}

// Signal sends a signal to the container's first process.
func (c *Container) Signal(signal unix.Signal) { _ = c.command.Process.Signal(signal) }

// Running says whether the container has not ended yet.
func (c *Container) Running() bool {
	select {
	case <-c.done:
		return false
	default:
		return true
	}
}

// PID is that of the container's first process, as the node sees it.
func (c *Container) PID() int { return c.command.Process.Pid }

// Done is closed when the container has ended.
func (c *Container) Done() <-chan struct{} { return c.done }

// ExitCode of a container that has ended, 128 plus the signal where one killed it.
func (c *Container) ExitCode() int {
	state := c.command.ProcessState
	if status, ok := state.Sys().(unix.WaitStatus); ok && status.Signaled() {
		return 128 + int(status.Signal())
	}
	return state.ExitCode()
}

// Wait waits for the container's end and is its exit code; the test ends if that
// takes longer.
func (c *Container) Wait(tb testing.TB, longest time.Duration) int {
	tb.Helper()
	select {
	case <-c.done:
		return c.ExitCode()
	case <-time.After(longest):
		tb.Fatalf("container %s runs on after %s; it said:\n%s", c.Name, longest, c.Logs())
		return -1
	}
}

// Exec runs a command in the container, as kubelet does for probes and hooks, and
// is what it printed.
func (c *Container) Exec(ctx context.Context, arguments ...string) (string, error) {
	enter := []string{
		"--target", strconv.Itoa(c.command.Process.Pid), "--mount", "--pid", "--net", "--root", "--wd",
		"--setuid", strconv.Itoa(c.uid), "--setgid", strconv.Itoa(c.gid), "--",
	}
	command := exec.CommandContext(ctx, "nsenter", append(enter, arguments...)...)
	// What it started in the container may live on, as it does under kubelet.
	command.WaitDelay = 100 * time.Millisecond
	output, err := command.CombinedOutput()
	if err != nil {
		return string(output), fmt.Errorf("%s in container %s: %w: %s", strings.Join(arguments, " "), c.Name, err, bytes.TrimSpace(output))
	}
	return string(output), nil
}
