package proxy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/pillion-mesh/pillion/bootstrap"
)

// envoyPath finds Envoy where its images have it.
func (s *Sidecar) envoyPath() (string, error) {
	if s.EnvoyPath != "" {
		return s.EnvoyPath, nil
	}
	path, err := exec.LookPath("envoy")
	if err == nil {
		return path, nil
	}
	const usual = "/usr/local/bin/envoy"
	if _, err := os.Stat(usual); err != nil {
		return "", fmt.Errorf("looking for Envoy: the image has no program envoy, neither in PATH (%s) nor as %s: set images.envoy to an image of Envoy", os.Getenv("PATH"), usual)
	}
	return usual, nil
}

// draining is a file that says that the pod drains, from `drain` to `run`.
const draining = "draining"

// prepare writes what Envoy reads, and takes away what an earlier container of the
// same pod left.
func (s *Sidecar) prepare() (bootstrap.Config, error) {
	config := s.config()
	var err error
	if config.IPv4, config.IPv6, err = s.families(); err != nil {
		return config, err
	}
	config.MaxConnections = connectionsFor(s.raiseFileLimit())
	files := filepath.Join(s.Folder, bootstrap.XDSFolder)
	_, err = os.Stat(files)
	s.first = errors.Is(err, os.ErrNotExist)
	if err := os.MkdirAll(files, 0o755); err != nil {
		return config, fmt.Errorf("making the folder of Envoy's configuration: %w: the volume pillion-run must be writable for user %d", err, os.Getuid())
	}
	for _, left := range [...]string{bootstrap.AdminSocket, draining} {
		if err := os.Remove(filepath.Join(s.Folder, left)); err != nil && !errors.Is(err, os.ErrNotExist) {
			return config, fmt.Errorf("removing what an earlier container left: %w", err)
		}
	}
	config.Generation = s.resume()
	for _, file := range bootstrap.New(config) {
		if err := replace(filepath.Join(s.Folder, file.Name), file.Content); err != nil {
			return config, err
		}
	}
	return config, nil
}

// replace writes a file whole or not at all.
func replace(path string, content []byte) error {
	temporary := path + ".new"
	err := os.WriteFile(temporary, content, 0o644)
	if err == nil {
		err = os.Rename(temporary, path)
	}
	if err != nil {
		_ = os.Remove(temporary)
		what := "the volume pillion-run must be there and writable for this user"
		if errors.Is(err, syscall.ENOSPC) {
			what = "the volume pillion-run is full: something in the pod wrote to it, or the node's disk is full"
		}
		return fmt.Errorf("writing Envoy's configuration: %w: %s", err, what)
	}
	return nil
}

// families are those that can be listened on here.
func (s *Sidecar) families() (v4, v6 bool, err error) {
	v4 = canListen("tcp4", "127.0.0.1:0")
	if s.Run.IPv6 {
		v6 = canListen("tcp6", "[::1]:0")
		if !v6 {
			s.say("this pod has no IPv6: Envoy listens on IPv4 only")
		}
	}
	if !v4 && !v6 {
		return false, false, errors.New("looking for an address to listen on: neither 127.0.0.1 nor ::1 can be listened on, so the pod's loopback interface is down")
	}
	return v4, v6, nil
}

func canListen(network, address string) bool {
	listener, err := net.Listen(network, address)
	if err != nil {
		return false
	}
	_ = listener.Close()
	return true
}

const (
	// ownFiles is what Envoy needs beside two files for each connection.
	ownFiles = 1024
	// mostConnections bounds the memory that idle connections cost.
	mostConnections   = 50_000
	fewestConnections = 64
)

// raiseFileLimit gives Envoy all files that it may open, and is how many.
func (s *Sidecar) raiseFileLimit() uint64 {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		s.say("reading the limit of open files: %v", err)
		return 0
	}
	before := limit.Cur
	limit.Cur = limit.Max
	// Go raises the limit for itself alone, unless it is set like this. The kernel
	// refuses where fs.nr_open is less by now: then it stays as it is.
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		s.say("raising the limit of open files from %d to %d: %v", before, limit.Max, err)
		return before
	}
	return limit.Cur
}

// connectionsFor is how many connections that many files are enough for.
func connectionsFor(files uint64) uint32 {
	if files < ownFiles+2*fewestConnections {
		return fewestConnections
	}
	return uint32(min((files-ownFiles)/2, mostConnections))
}

// arguments are Envoy's command line.
func (s *Sidecar) arguments(path string) []string {
	arguments := []string{
		path,
		"--config-path", filepath.Join(s.Folder, bootstrap.BootstrapFile),
		"--concurrency", strconv.Itoa(s.Run.Concurrency),
		"--log-level", s.Run.LogLevel,
		"--drain-time-s", strconv.Itoa(max(1, int(s.Run.DrainTime.Seconds()))),
		// Every client is told with its next response, not some of them.
		"--drain-strategy", "immediate",
		"--disable-hot-restart",
	}
	for _, more := range [...][]string{
		// What Envoy says of an update that it rejects, see envoy.noteRejection.
		{"--component-log-level", "config:warning"},
		// A generation may come from a newer Pillion than this Envoy knows all fields of.
		{"--reject-unknown-dynamic-fields"},
	} {
		given := func(a string) bool { name, _, _ := strings.Cut(a, "="); return name == more[0] }
		if !slices.ContainsFunc(s.Run.ExtraArgs, given) {
			arguments = append(arguments, more...)
		}
	}
	return append(arguments, s.Run.ExtraArgs...)
}

// oomKills is how many processes of this container the kernel has killed for memory;
// 0 where that cannot be known.
func oomKills() int {
	// By version 2 of control groups and by version 1.
	for _, path := range [...]string{"/sys/fs/cgroup/memory.events", "/sys/fs/cgroup/memory/memory.oom_control"} {
		if content, err := os.ReadFile(path); err == nil {
			return oomKillsIn(string(content))
		}
	}
	return 0
}

func oomKillsIn(events string) int {
	for line := range strings.Lines(events) {
		if count, ok := strings.CutPrefix(strings.TrimSpace(line), "oom_kill "); ok {
			n, _ := strconv.Atoi(count)
			return n
		}
	}
	return 0
}
