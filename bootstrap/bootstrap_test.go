package bootstrap

import (
	"flag"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pillion-mesh/pillion/e2e/envoy"
)

var update = flag.Bool("update", false, "write the expected files anew")

// full is a configuration with something in every field.
func full() Config {
	return Config{
		Service: "shop/checkout", PodName: "checkout-7d4b", PodNamespace: "shop", NodeName: "node-1", Folder: "/pillion/run",
		InboundPort: 15006, OutboundPort: 15001, IPv4: true, IPv6: true, MemoryLimit: 512 << 20, MaxConnections: 50_000,
		UpstreamAge: 240 * time.Second, UpstreamIdle: 4 * time.Second, DownstreamAge: 300 * time.Second, DrainTime: 20 * time.Second, AccessLog: true,
		APIServer: netip.MustParseAddr("10.96.0.1"),
	}
}

// TestFiles holds what is rendered.
func TestFiles(t *testing.T) {
	expect(t, full(), "testdata")
}

// expect holds the files that a configuration is rendered to.
func expect(t *testing.T, c Config, folder string) {
	t.Helper()
	for _, file := range New(c) {
		path := filepath.Join(folder, filepath.Base(file.Name))
		if *update {
			if err := os.WriteFile(path, file.Content, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(path)
		if diff := cmp.Diff(string(want), string(file.Content)); err != nil || diff != "" {
			t.Errorf("%s: %v; want -, got +\n%s", file.Name, err, diff)
		}
	}
}

func TestSameBytes(t *testing.T) {
	for range 20 {
		if diff := cmp.Diff(New(full()), New(full())); diff != "" {
			t.Fatal(diff)
		}
	}
}

// merged is the whole configuration as one bootstrap.
func merged(t *testing.T, c Config) []byte {
	t.Helper()
	whole, err := Merged(New(c))
	if err != nil {
		t.Fatal(err)
	}
	return whole
}

// configurations are the corners, one field at its end after the other, and some in
// between.
func configurations() map[string]Config {
	all := map[string]Config{"full": full()}
	for name, change := range map[string]func(*Config){
		"IPv4 only":             func(c *Config) { c.IPv6 = false },
		"IPv6 only":             func(c *Config) { c.IPv4 = false },
		"no memory limit":       func(c *Config) { c.MemoryLimit = 0 },
		"smallest memory limit": func(c *Config) { c.MemoryLimit = 1 },
		"largest memory limit":  func(c *Config) { c.MemoryLimit = 1<<63 - 1 },
		"no bound at all":       func(c *Config) { c.MemoryLimit, c.MaxConnections = 0, 0 },
		"no ages":               func(c *Config) { c.UpstreamAge, c.UpstreamIdle, c.DownstreamAge = 0, 0, 0 },
		"no drain":              func(c *Config) { c.DrainTime = 0 },
		"no access log":         func(c *Config) { c.AccessLog = false },
		"a generation":          func(c *Config) { c.Generation = declared() },
		"an empty generation":   func(c *Config) { c.Generation = &Generation{Service: "checkout", Namespace: "shop", Version: "1"} },
		"the least said": func(c *Config) {
			*c = Config{Service: "a", Folder: "/", InboundPort: 1, OutboundPort: 65535, IPv4: true}
		},
	} {
		c := full()
		change(&c)
		all[name] = c
	}
	dice := rand.New(rand.NewPCG(1, 2))
	some := func(most int64) time.Duration { return time.Duration(dice.Int64N(2)*dice.Int64N(most)) * time.Second }
	for n := range 10 {
		c := full()
		c.Service = strings.Repeat("s", 1+dice.IntN(253))
		c.IPv4, c.MemoryLimit, c.MaxConnections = dice.IntN(2) > 0, dice.Int64N(2)*dice.Int64(), uint32(dice.IntN(2)*dice.IntN(60_000))
		c.IPv6 = !c.IPv4 || dice.IntN(2) > 0
		c.UpstreamAge, c.UpstreamIdle, c.DownstreamAge, c.DrainTime = some(3600), some(3600), some(3600), some(3600)
		c.AccessLog = dice.IntN(2) > 0
		all[fmt.Sprint("random ", n)] = c
	}
	return all
}

// Envoy takes every configuration, and refuses one with a field that it does not
// know: so a field that is misspelled here would be seen.
func TestEnvoyAccepts(t *testing.T) {
	program, folder := envoy.Path(t), t.TempDir()
	validate := func(content []byte) (string, error) {
		path := filepath.Join(folder, "bootstrap.json")
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		output, err := exec.CommandContext(t.Context(), program, "--mode", "validate", "--log-level", "error", "--config-path", path).CombinedOutput()
		return string(output), err
	}
	for name, c := range configurations() {
		if output, err := validate(merged(t, c)); err != nil {
			t.Errorf("%s: %v\n%s", name, err, output)
		}
	}
	unknown := strings.Replace(string(merged(t, full())), `"stream_idle_timeout"`, `"stream_idle_time"`, 1)
	if output, err := validate([]byte(unknown)); err == nil {
		t.Errorf("a field that does not exist was taken: %s", output)
	}
}

// What is 0 stands for no bound, which Envoy has two ways to write.
func TestNoBounds(t *testing.T) {
	c := full()
	c.UpstreamAge, c.UpstreamIdle, c.DownstreamAge, c.MemoryLimit, c.MaxConnections = 0, 0, 0, 0, 0
	content := map[string]string{}
	for _, file := range New(c) {
		content[file.Name] = string(file.Content)
	}
	for name, unwanted := range map[string]string{BootstrapFile: `"max_connection_duration"`, ListenersFile: `"max_connection_duration"`} {
		if strings.Contains(content[name], unwanted) {
			t.Errorf("%s has %s", name, unwanted)
		}
	}
	if strings.Contains(content[BootstrapFile], "overload_manager") || !strings.Contains(content[BootstrapFile], `"idle_timeout": "0s"`) {
		t.Errorf("the bootstrap has bounds:\n%s", content[BootstrapFile])
	}
}
