package sandbox

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// terminationLog is where kubelet has a container's last words written.
const terminationLog = "/dev/termination-log"

// mount is a file or folder of the machine inside a container.
type mount struct {
	From, To string
	ReadOnly bool
}

// spec is what the first process of a container needs to know: what a container
// runtime takes from the image and from the pod's securityContext.
type spec struct {
	// Root is an empty folder, on which the root file system is made.
	Root     string
	Mounts   []mount
	ReadOnly bool
	// Last words go to this file of the machine.
	TerminationLog string
	UID, GID       int
	// Capabilities that root keeps; everybody else has none.
	Capabilities []string
	Arguments    []string
	Environment  []string
}

// startedFD closes when the container's own program runs: it is the writing end of a
// pipe, which gets the reason where that does not come to be.
const startedFD = 3

// becomeContainer makes this process, which has mount and process namespaces of its
// own, what the spec says. It returns only if that failed.
func becomeContainer(encoded string) error {
	unix.CloseOnExec(startedFD)
	err := becomeSpec(encoded)
	_, _ = os.NewFile(startedFD, "started").WriteString(err.Error())
	return err
}

func becomeSpec(encoded string) error {
	var s spec
	if err := json.Unmarshal([]byte(encoded), &s); err != nil {
		return fmt.Errorf("reading the container's spec: %w", err)
	}
	// Capabilities are a thread's, and exec keeps those of the thread that calls it.
	runtime.LockOSThread()
	if err := s.makeRoot(); err != nil {
		return fmt.Errorf("making the container's root file system: %w", err)
	}
	if err := s.dropRights(); err != nil {
		return fmt.Errorf("dropping rights: %w", err)
	}
	return fmt.Errorf("running %q in the container: %w", s.Arguments[0], unix.Exec(s.Arguments[0], s.Arguments, s.Environment))
}

func (s *spec) makeRoot() error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("keeping mounts to ourselves: %w", err)
	}
	if err := unix.Mount("tmpfs", s.Root, "tmpfs", unix.MS_NOSUID, "mode=755"); err != nil {
		return fmt.Errorf("mounting a tmpfs on %s: %w", s.Root, err)
	}
	mounts := append([]mount{}, s.Mounts...)
	for _, device := range [...]string{"null", "zero", "full", "random", "urandom"} {
		mounts = append(mounts, mount{From: "/dev/" + device, To: "/dev/" + device})
	}
	mounts = append(mounts, mount{From: s.TerminationLog, To: terminationLog})
	for _, m := range mounts {
		if err := m.bind(s.Root); err != nil {
			return fmt.Errorf("mounting %s on %s: %w", m.From, m.To, err)
		}
	}
	for _, folder := range [...]string{"/proc", "/tmp", "/old"} {
		if err := os.MkdirAll(s.Root+folder, 0o755); err != nil {
			return err
		}
	}
	if err := unix.Mount("proc", s.Root+"/proc", "proc", 0, ""); err != nil {
		return fmt.Errorf("mounting /proc: %w", err)
	}
	if err := unix.PivotRoot(s.Root, s.Root+"/old"); err != nil {
		return fmt.Errorf("changing the root: %w", err)
	}
	if err := unix.Chdir("/"); err != nil {
		return err
	}
	if err := unix.Unmount("/old", unix.MNT_DETACH); err != nil {
		return fmt.Errorf("leaving the machine's root: %w", err)
	}
	if err := os.Remove("/old"); err != nil {
		return err
	}
	if !s.ReadOnly {
		return nil
	}
	return unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
}

// bind mounts a file or folder, or makes the link that it is.
func (m mount) bind(root string) error {
	info, err := os.Lstat(m.From)
	if err != nil {
		return err
	}
	to := root + m.To
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	switch {
	case info.Mode()&os.ModeSymlink != 0:
		target, err := os.Readlink(m.From)
		if err != nil {
			return err
		}
		return os.Symlink(target, to)
	case info.IsDir():
		err = os.MkdirAll(to, 0o755)
	default:
		err = os.WriteFile(to, nil, 0o644)
	}
	if err != nil {
		return err
	}
	if err := unix.Mount(m.From, to, "", unix.MS_BIND, ""); err != nil || !m.ReadOnly {
		return err
	}
	return unix.Mount("", to, "", unix.MS_REMOUNT|unix.MS_BIND|unix.MS_RDONLY, "")
}

// capabilityNumbers are those that a pod's spec may name here.
func capabilityNumber(name string) (uintptr, error) {
	switch strings.TrimPrefix(name, "CAP_") {
	case "NET_ADMIN":
		return unix.CAP_NET_ADMIN, nil
	case "NET_RAW":
		return unix.CAP_NET_RAW, nil
	}
	return 0, fmt.Errorf("capability %q is none that a test needs so far: add it here", name)
}

func (s *spec) dropRights() error {
	keep := map[uintptr]bool{}
	for _, name := range s.Capabilities {
		number, err := capabilityNumber(name)
		if err != nil {
			return err
		}
		keep[number] = true
	}
	for number := uintptr(0); number <= unix.CAP_LAST_CAP; number++ {
		if keep[number] {
			continue
		}
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, number, 0, 0, 0); err != nil {
			return fmt.Errorf("dropping capability %d: %w", number, err)
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("setting no_new_privs: %w", err)
	}
	// By the raw calls: they are about this thread, which is the one that execs.
	for call, arguments := range map[uintptr][3]uintptr{
		unix.SYS_SETGROUPS: {0, 0, 0}, unix.SYS_SETRESGID: {uintptr(s.GID), uintptr(s.GID), uintptr(s.GID)},
	} {
		if _, _, errno := unix.RawSyscall(call, arguments[0], arguments[1], arguments[2]); errno != 0 {
			return fmt.Errorf("becoming group %d: %w", s.GID, errno)
		}
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(s.UID), uintptr(s.UID), uintptr(s.UID)); errno != 0 {
		return fmt.Errorf("becoming user %d: %w", s.UID, errno)
	}
	return nil
}
