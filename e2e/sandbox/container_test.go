package sandbox

import (
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
	corev1 "k8s.io/api/core/v1"
)

func container(script string) *corev1.Container {
	return &corev1.Container{
		Name: "shell", Command: []string{"/bin/sh", "-c", script},
		Env:          []corev1.EnvVar{{Name: "COLOUR", Value: "blue"}},
		VolumeMounts: []corev1.VolumeMount{{Name: "shared", MountPath: "/shared", ReadOnly: true}},
		SecurityContext: &corev1.SecurityContext{
			RunAsUser: new(int64(15033)), RunAsGroup: new(int64(15034)), ReadOnlyRootFilesystem: new(true),
			Capabilities: &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		},
	}
}

// A container has what its spec gives it and nothing else.
func TestContainerIsWhatItsSpecSays(t *testing.T) {
	p := NewPod(t, "pod")
	c := p.StartContainer(t, container(`
		echo $$ $(id -u) $(id -g) $COLOUR; grep -E 'CapEff|CapBnd|NoNewPrivs' /proc/self/status
		touch /file /shared/file /bin/file; echo last words > /dev/termination-log; ls /; exit 3`), Base(), map[string]string{"shared": t.TempDir()})
	if code := c.Wait(t, 10*time.Second); code != 3 {
		t.Errorf("exit code %d, want 3", code)
	}
	logs := c.Logs()
	for _, want := range []string{
		"1 15033 15034 blue\n", "CapEff:\t0000000000000000", "CapBnd:\t0000000000000000", "NoNewPrivs:\t1",
		"touch: cannot touch '/file': Read-only file system", "touch: cannot touch '/shared/file': Read-only file system",
	} {
		if !strings.Contains(logs, want) {
			t.Errorf("no %q in:\n%s", want, logs)
		}
	}
	if got := c.TerminationMessage(); got != "last words\n" {
		t.Errorf("termination message %q", got)
	}
	if strings.Contains(logs, "\nhome\n") {
		t.Errorf("the machine's files are there:\n%s", logs)
	}
}

func TestCapabilitiesOfRoot(t *testing.T) {
	p := NewPod(t, "pod")
	of := container("grep CapEff /proc/self/status; nft add table inet here && nft list tables")
	of.SecurityContext.RunAsUser, of.SecurityContext.RunAsGroup = new(int64(0)), new(int64(0))
	of.SecurityContext.Capabilities.Add = []corev1.Capability{"NET_ADMIN", "NET_RAW"}
	c := p.StartContainer(t, of, Base(), map[string]string{"shared": t.TempDir()})
	if code := c.Wait(t, 10*time.Second); code != 0 || c.Logs() != "CapEff:\t0000000000003000\ntable inet here\n" {
		t.Errorf("exit code %d:\n%s", code, c.Logs())
	}
}

// The first process of a container gets a signal only if it asked for it, and what
// is run in the container sees its processes and files.
func TestSignalsAndExec(t *testing.T) {
	p := NewPod(t, "pod")
	c := p.StartContainer(t, container("trap 'exit 7' USR1; while :; do sleep 0.05; done"), Base(), map[string]string{"shared": t.TempDir()})
	var said string
	for deadline := time.Now().Add(10 * time.Second); said != "15033\nsh\n" && time.Now().Before(deadline); {
		said, _ = c.Exec(t.Context(), "/bin/sh", "-c", "id -u; cat /proc/1/comm")
	}
	if said != "15033\nsh\n" {
		t.Errorf("exec printed %q", said)
	}
	if _, err := c.Exec(t.Context(), "/bin/sh", "-c", "echo why; exit 4"); err == nil || !strings.Contains(err.Error(), "exit status 4: why") {
		t.Errorf("exec of a failing command: %v", err)
	}
	c.Signal(unix.SIGTERM)
	time.Sleep(100 * time.Millisecond)
	if !c.Running() {
		t.Error("SIGTERM ended a first process that did not handle it")
	}
	c.Signal(unix.SIGUSR1)
	if code := c.Wait(t, 10*time.Second); code != 7 {
		t.Errorf("exit code %d, want 7", code)
	}
}
