package main

import (
	"bytes"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

// folder holds the program as it is shipped, and a pillion-proxy beside it.
var folder = filepath.Join(os.TempDir(), "pillion-init-test-"+time.Now().Format("150405.000000"))

func TestMain(m *testing.M) { sandbox.Main(m, func() { _ = os.RemoveAll(folder) }) }

var build = sync.OnceValue(func() error {
	command := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", folder+"/pillion-init", ".")
	command.Env = append(os.Environ(), "CGO_ENABLED=0")
	if output, err := command.CombinedOutput(); err != nil {
		return &os.PathError{Op: "building", Path: string(output), Err: err}
	}
	return os.WriteFile(folder+"/pillion-proxy", []byte("the program"), 0o755)
})

func program(t *testing.T) string {
	t.Helper()
	if err := build(); err != nil {
		t.Fatal(err)
	}
	return folder + "/pillion-init"
}

func arguments(more ...string) []string {
	return append([]string{
		"--proxy-uid=15033", "--proxy-gid=15033", "--inbound-port=15006", "--outbound-port=15001", "--own-ports=15000-15099", "--ipv4=true", "--ipv6=true",
	}, more...)
}

// container is pillion-init as injection makes it: root with two capabilities, on a
// read-only root file system.
func container(args ...string) *corev1.Container {
	return &corev1.Container{
		Name: "pillion-init", Command: []string{"/pillion-init"}, Args: args,
		VolumeMounts: []corev1.VolumeMount{{Name: "pillion-bin", MountPath: "/pillion/bin"}},
		SecurityContext: &corev1.SecurityContext{
			RunAsUser: new(int64(0)), RunAsGroup: new(int64(0)), ReadOnlyRootFilesystem: new(true),
			Capabilities: &corev1.Capabilities{Add: []corev1.Capability{"NET_ADMIN", "NET_RAW"}, Drop: []corev1.Capability{"ALL"}},
		},
	}
}

// image is pillion-init's own: from scratch.
func image(t *testing.T) sandbox.Image {
	t.Helper()
	return sandbox.Image{"/pillion-init": program(t), "/pillion-proxy": folder + "/pillion-proxy"}
}

// ended is a container that has run to its end.
func ended(t *testing.T, p *sandbox.Pod, of *corev1.Container, bin string) *sandbox.Container {
	t.Helper()
	c := p.StartContainer(t, of, image(t), map[string]string{"pillion-bin": bin})
	c.Wait(t, 30*time.Second)
	return c
}

func TestApplyInAPod(t *testing.T) {
	p, bin := sandbox.NewPod(t, "pod"), t.TempDir()
	var listings [2]string
	for n := range listings {
		c := ended(t, p, container(append([]string{"apply"}, arguments()...)...), bin)
		want := `redirect applied: backend=nftables ipv4=true ipv6=true rules=8 reason="the kernel took the transaction"` + "\n"
		if c.ExitCode() != 0 || c.Logs() != want || c.TerminationMessage() != "" {
			t.Errorf("exit code %d, last words %q, logs %q", c.ExitCode(), c.TerminationMessage(), c.Logs())
		}
		listings[n] = p.Output(t, "nft", "list", "ruleset")
	}
	if listings[0] != listings[1] || !strings.Contains(listings[0], "15001") {
		t.Errorf("once -, twice +\n%s", cmp.Diff(listings[0], listings[1]))
	}
	copied, err := os.ReadFile(bin + "/pillion-proxy")
	info, _ := os.Stat(bin + "/pillion-proxy")
	if err != nil || string(copied) != "the program" || info.Mode().Perm() != 0o755 {
		t.Errorf("pillion-proxy is %q, %v, %v", copied, info, err)
	}
	if left, _ := os.ReadDir(bin); len(left) != 1 {
		t.Errorf("in the volume: %v", left)
	}
	for _, command := range []struct {
		args []string
		code int
		says string
	}{
		{append([]string{"check"}, arguments()...), 0, "arrived at the outbound port 15001"},
		{append([]string{"check"}, arguments("--reserved-inbound=25")...), 3, "is not that of the redirect"},
		{append([]string{"apply", "--show-changes=true"}, arguments("--reserved-inbound=25")...), 0, "return\n\tdport 25 return\n\tl4proto tcp redirect to :15006\nchain outbound"},
		{[]string{"clean"}, 0, "redirect taken away: [nftables]"},
		{[]string{"clean"}, 0, "there was no redirect"},
		{append([]string{"check"}, arguments()...), 3, "neither nftables nor iptables has the redirect"},
	} {
		c := ended(t, p, container(command.args...), bin)
		if c.ExitCode() != command.code || !strings.Contains(c.Logs(), command.says) {
			t.Errorf("%v: exit code %d, want %d and %q in:\n%s", command.args[0], c.ExitCode(), command.code, command.says, c.Logs())
		}
	}
}

// What keeps it from its work is said in one sentence, where kubectl describe shows it.
func TestLastWords(t *testing.T) {
	full := t.TempDir()
	if err := syscall.Mount("tmpfs", full, "tmpfs", 0, "size=4k"); os.Getuid() == 0 && err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Unmount(full, 0) })
	_ = os.WriteFile(full+"/filler", make([]byte, 4096), 0o600)
	for _, test := range []struct {
		name   string
		change func(*corev1.Container)
		bin    string
		code   int
		says   []string
	}{
		{"no NET_ADMIN", func(c *corev1.Container) { c.SecurityContext.Capabilities.Add = nil }, t.TempDir(), 1, []string{"applying the redirect with nftables", "operation not permitted", "the container needs the capability NET_ADMIN"}},
		{"not root", func(c *corev1.Container) { c.SecurityContext.RunAsUser = new(int64(1000)) }, t.TempDir(), 1, []string{"copying pillion-proxy", "must be mounted at /pillion/bin and writable"}},
		{"no volume", func(c *corev1.Container) { c.VolumeMounts = nil }, t.TempDir(), 1, []string{"the volume pillion-bin must be mounted at /pillion/bin"}},
		{"a full volume", func(*corev1.Container) {}, full, 1, []string{"no space left on device", "the volume pillion-bin is full"}},
		{"iptables without iptables", func(c *corev1.Container) { c.Args = append([]string{"apply", "--backend=iptables"}, arguments()...) }, t.TempDir(), 1, []string{"there is no program for IPv4 in PATH", "use an image of pillion-init with iptables"}},
		{"a wrong port", func(c *corev1.Container) {
			c.Args = append([]string{"apply"}, arguments("--reserved-inbound=80-70")...)
		}, t.TempDir(), 2, []string{`reading argument "--reserved-inbound=80-70"`, "80 is above 70"}},
		{"a wrong backend", func(c *corev1.Container) { c.Args = append([]string{"apply", "--backend=ipvs"}, arguments()...) }, t.TempDir(), 2, []string{`backend "ipvs" must be auto, nftables or iptables`}},
		{"no such command", func(c *corev1.Container) { c.Args = []string{"aply"} }, t.TempDir(), 2, []string{"pillion-init aply: no such command"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			p := sandbox.NewPod(t, "pod")
			of := container(append([]string{"apply"}, arguments()...)...)
			test.change(of)
			c := ended(t, p, of, test.bin)
			message := c.TerminationMessage()
			for _, says := range test.says {
				if !strings.Contains(message, says) {
					t.Errorf("no %q in the last words: %s", says, message)
				}
			}
			if c.ExitCode() != test.code || strings.Contains(message, "\n") {
				t.Errorf("exit code %d, want %d; last words %q", c.ExitCode(), test.code, message)
			}
			if rules := p.Output(t, "nft", "list", "ruleset"); rules != "" {
				t.Errorf("and yet there are rules:\n%s", rules)
			}
		})
	}
}

// Killed at any moment it leaves the rules that were there or the new ones, never
// others; and the next run brings the new ones.
func TestKilledAtAnyMoment(t *testing.T) {
	p, bin := sandbox.NewPod(t, "pod"), t.TempDir()
	old, changed := arguments("--reserved-inbound=25,3306"), arguments("--reserved-outbound=1-2,4-5,7-8", "--excluded-cidrs=10.0.0.0/8,fd00::/8")
	listing := func(args []string) string {
		if c := ended(t, p, container(append([]string{"apply"}, args...)...), bin); c.ExitCode() != 0 {
			t.Fatal(c.Logs())
		}
		return p.Output(t, "nft", "list", "ruleset")
	}
	whole, before := listing(changed), listing(old)
	left := map[bool]int{}
	for range 60 {
		c := p.StartContainer(t, container(append([]string{"apply"}, changed...)...), image(t), map[string]string{"pillion-bin": bin})
		time.Sleep(rand.N(16 * time.Millisecond))
		c.Signal(syscall.SIGKILL)
		c.Wait(t, 10*time.Second)
		got := p.Output(t, "nft", "list", "ruleset")
		if got != whole && got != before {
			t.Fatalf("neither the old rules nor the new ones:\n%s", got)
		}
		left[got == whole]++
		if content, err := os.ReadFile(bin + "/pillion-proxy"); err != nil || !bytes.Equal(content, []byte("the program")) {
			t.Fatalf("pillion-proxy is %q, %v", content, err)
		}
		if got == whole {
			listing(old)
		}
	}
	if left[true] == 0 || left[false] == 0 {
		t.Errorf("killed too early or too late each time: %v", left)
	}
	if diff := cmp.Diff(whole, listing(changed)); diff != "" {
		t.Errorf("want -, got +\n%s", diff)
	}
}

// The program is static, and small enough to be pulled in no time.
func TestProgram(t *testing.T) {
	info, err := os.Stat(program(t))
	if err != nil || info.Size() > 4<<20 {
		t.Errorf("%v, %v; want at most 4 MiB", info.Size(), err)
	}
	output, _ := exec.Command("ldd", program(t)).CombinedOutput()
	if !strings.Contains(string(output), "not a dynamic executable") && !strings.Contains(string(output), "statically linked") {
		t.Errorf("ldd says: %s", output)
	}
}

// print needs no rights, and prints every rendering of the families.
func TestPrint(t *testing.T) {
	for families, want := range map[string][]bool{"--ipv4=true --ipv6=true": {true, true}, "--ipv4=true --ipv6=false": {true, false}, "--ipv4=false --ipv6=true": {false, true}} {
		args := slices.Concat(arguments()[:5], strings.Fields(families))
		var out bytes.Buffer
		if code := run(t.Context(), append([]string{"print"}, args...), &out); code != 0 {
			t.Fatalf("exit code %d", code)
		}
		for n, program := range []string{"\n# iptables-restore --noflush\n*nat\n", "\n# ip6tables-restore --noflush\n*nat\n"} {
			if strings.Contains(out.String(), program) != want[n] {
				t.Errorf("%s: %q is there, or not, in:\n%s", families, program, out.String())
			}
		}
		if !strings.HasPrefix(out.String(), "# nft -f\nadd table inet pillion\n") {
			t.Errorf("%s: no script for nft in:\n%s", families, out.String())
		}
	}
}
