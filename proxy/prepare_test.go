package proxy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/pillion-mesh/pillion/lifecycle"
)

func TestConnectionsFor(t *testing.T) {
	for files, want := range map[uint64]uint32{
		0: 64, 1024: 64, 1152: 64, 1154: 65, 4096: 1536, 101_023: 49_999, 101_024: 50_000, 1 << 20: 50_000, 1<<64 - 1: 50_000,
	} {
		if got := connectionsFor(files); got != want {
			t.Errorf("%d files: %d connections, want %d", files, got, want)
		}
	}
}

// unstarted is a sidecar whose Envoy is not started, for what is missing, with what it
// said.
func unstarted(t *testing.T) (s *Sidecar, said func() (words, log string)) {
	t.Helper()
	folder := t.TempDir()
	log, err := os.Create(filepath.Join(folder, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = log.Close() })
	last := filepath.Join(folder, "last-words")
	if err := os.WriteFile(last, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	s = &Sidecar{
		Run: lifecycle.Run{Service: "shop/checkout", InboundPort: 15006, OutboundPort: 15001, Concurrency: 1, LogLevel: "info"}, Folder: t.TempDir(),
		Stdout: log, Stderr: log, LastWords: LastWords(last),
	}
	return s, func() (string, string) {
		words, _ := os.ReadFile(last)
		lines, _ := os.ReadFile(log.Name())
		return string(words), string(lines)
	}
}

// TestCannotStart: one sentence, in the log and the last words, and exit code 1.
func TestCannotStart(t *testing.T) {
	text := filepath.Join(t.TempDir(), "envoy")
	if err := os.WriteFile(text, []byte("no program"), 0o755); err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name   string
		change func(*Sidecar)
		says   string
	}{
		{"no Envoy in the image", func(*Sidecar) { t.Setenv("PATH", t.TempDir()) }, "looking for Envoy: the image has no program envoy, neither in PATH ("},
		{"no program", func(s *Sidecar) { s.EnvoyPath = text }, "starting Envoy as " + text + ": exec format error: is it a program for this kind of machine?"},
		{"no such program", func(s *Sidecar) { s.EnvoyPath = text + "2" }, "starting Envoy as " + text + "2: no such file or directory"},
		{"no folder", func(s *Sidecar) { s.EnvoyPath, s.Folder = text, text }, "the volume pillion-run must be"},
	} {
		t.Run(test.name, func(t *testing.T) {
			s, said := unstarted(t)
			test.change(s)
			code := s.Supervise(nil)
			if words, log := said(); code != 1 || !strings.Contains(words, test.says) || log != "pillion-proxy: "+words+"\n" {
				t.Errorf("exit code %d, last words %q, log %q", code, words, log)
			}
		})
	}
}

// TestReplace leaves a whole file, or the one that was there.
func TestReplace(t *testing.T) {
	folder := t.TempDir()
	path := filepath.Join(folder, "file")
	for _, content := range []string{"one", "two, longer", "3"} {
		if err := replace(path, []byte(content)); err != nil {
			t.Fatal(err)
		}
		if got, _ := os.ReadFile(path); string(got) != content {
			t.Errorf("%q, want %q", got, content)
		}
	}
	before, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := replace(path, []byte("four")); err != nil {
		t.Fatal(err)
	}
	if after, _ := os.Stat(path); os.SameFile(before, after) {
		t.Error("the file itself was written to: somebody may see half of it")
	}
	// A folder in its place cannot be replaced.
	if err := os.MkdirAll(filepath.Join(folder, "other", "below"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := replace(filepath.Join(folder, "other"), nil); err == nil || !strings.HasPrefix(err.Error(), "writing Envoy's configuration: ") {
		t.Errorf("%v", err)
	}
	if left, _ := filepath.Glob(filepath.Join(folder, "*.new")); len(left) > 0 {
		t.Errorf("left behind: %q", left)
	}
}

// TestArguments are Envoy's own, and the owner's behind them: Envoy takes none twice.
func TestArguments(t *testing.T) {
	const first = "/bin/envoy|--config-path|/pillion/run/bootstrap.json|--concurrency|3|--log-level|debug|--drain-time-s|1|--drain-strategy|immediate|--disable-hot-restart"
	for _, test := range []struct {
		extra []string
		want  string
	}{
		{[]string{"--x", "y z"}, first + "|--component-log-level|config:warning|--reject-unknown-dynamic-fields|--x|y z"},
		{[]string{"--component-log-level", "http:debug"}, first + "|--reject-unknown-dynamic-fields|--component-log-level|http:debug"},
		{[]string{"--component-log-level=http:debug", "--reject-unknown-dynamic-fields"}, first + "|--component-log-level=http:debug|--reject-unknown-dynamic-fields"},
	} {
		s := &Sidecar{Folder: "/pillion/run", Run: lifecycle.Run{Concurrency: 3, LogLevel: "debug", ExtraArgs: test.extra}}
		if got := strings.Join(s.arguments("/bin/envoy"), "|"); got != test.want {
			t.Errorf("%s, want %s", got, test.want)
		}
	}
}

// TestLastWords: no more than kubelet reads, whole characters, the newest only, and no
// file that nobody asked for.
func TestLastWords(t *testing.T) {
	path := filepath.Join(t.TempDir(), "last-words")
	LastWords(path).Write("one")
	LastWords("").Write("one")
	if _, err := os.Stat(path); err == nil {
		t.Error("it made the file")
	}
	if err := os.WriteFile(path, []byte("what was there before"), 0o600); err != nil {
		t.Fatal(err)
	}
	for sentence, want := range map[string]int{strings.Repeat("x", 5000): 4096, "short": 5, "x" + strings.Repeat("é", 3000): 4095} {
		LastWords(path).Write(sentence)
		if got, err := os.ReadFile(path); err != nil || len(got) != want || !utf8.Valid(got) || !strings.HasPrefix(sentence, string(got)) {
			t.Errorf("%v, %d bytes, want %d", err, len(got), want)
		}
	}
}

// TestAddressOf takes what a server can have, as Envoy takes it.
func TestAddressOf(t *testing.T) {
	for told, want := range map[string]string{
		"10.96.0.1": "10.96.0.1", "::ffff:10.96.0.1": "10.96.0.1", "fd00::1": "fd00::1",
		"": "", "kube.example.com": "", "10.96.0.1:443": "", "fe80::1%eth0": "", "fd00::1%eth0": "", "127.0.0.1": "", "::1": "", "0.0.0.0": "", "224.0.0.1": "",
	} {
		got := ""
		if address := addressOf(told); address.IsValid() {
			got = address.String()
		}
		if got != want {
			t.Errorf("of %q it is %q, want %q", told, got, want)
		}
	}
}
