package main

import (
	"bytes"
	"context"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

func TestCommandLineThatCannotBeUsed(t *testing.T) {
	good := []string{"--config", "c", "--cert-dir", "d"}
	tests := map[string]struct {
		args []string
		says string
	}{
		"no config":        {[]string{"--cert-dir", "d"}, "--config is required"},
		"no certificate":   {[]string{"--config", "c"}, "--cert-dir is required"},
		"unknown flag":     {append(good, "--kubeconfig=x"), "-kubeconfig"},
		"an argument":      {append(good, "serve"), `unexpected argument "serve"`},
		"no port":          {append(good, "--port=99999"), "--port is 99999"},
		"no requests":      {append(good, "--max-in-flight=0"), "--max-in-flight is 0"},
		"no connections":   {append(good, "--max-connections=-1"), "--max-connections is -1"},
		"no age":           {append(good, "--max-connection-age=0s"), "--max-connection-age is 0s"},
		"a negative delay": {append(good, "--shutdown-delay=-1s"), "--shutdown-delay is -1s"},
		"a negative drain": {append(good, "--drain-timeout=-1s"), "--drain-timeout is -1s"},
		"a level":          {append(good, "--log-level=loud"), "log-level"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var stderr bytes.Buffer
			if status := run(t.Context(), test.args, &stderr); status != 2 || !strings.Contains(stderr.String(), test.says) {
				t.Errorf("status %d, %q; want 2 and %q", status, &stderr, test.says)
			}
		})
	}
}

func TestHelpIsNoError(t *testing.T) {
	var stderr bytes.Buffer
	if status := run(t.Context(), []string{"--help"}, &stderr); status != 0 || !strings.Contains(stderr.String(), "-cert-dir directory") {
		t.Errorf("status %d, %q", status, &stderr)
	}
}

func TestProbeCommandLine(t *testing.T) {
	good := []string{"--address=localhost:1", "--ca=none"}
	tests := map[string]struct {
		args   []string
		status int
		says   string
	}{
		"no address":    {good[1:], 2, "--address is required"},
		"no authority":  {good[:1], 2, "--ca is required"},
		"half a label":  {append(good, "--label=mesh"), 2, "--label is KEY=VALUE"},
		"no time":       {append(good, "--timeout=0s"), 2, "--timeout is 0s"},
		"an argument":   {append(good, "now"), 2, `unexpected argument "now"`},
		"no such file":  {good, 1, "reading the authorities: open none"},
		"help":          {[]string{"--help"}, 0, "-address host:port"},
		"unknown flags": {append(good, "--insecure"), 2, "-insecure"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			var stdout, stderr bytes.Buffer
			if status := probe(t.Context(), test.args, &stdout, &stderr); status != test.status || !strings.Contains(stderr.String(), test.says) || stdout.Len() > 0 {
				t.Errorf("status %d, %q, %q; want %d and %q", status, &stdout, &stderr, test.status, test.says)
			}
		})
	}
}

func TestPortThatIsTakenIsAnError(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	var stderr bytes.Buffer
	args := []string{"--config=c", "--cert-dir=d", "--host=127.0.0.1", "--port=" + strconv.Itoa(taken.Addr().(*net.TCPAddr).Port)}
	if status := run(t.Context(), args, &stderr); status != 1 || !strings.Contains(stderr.String(), "listening for admission requests") {
		t.Errorf("status %d, %q", status, &stderr)
	}
}

// The program needs nothing but its files: in a network namespace with loopback
// alone, and without any environment, it becomes ready.
func TestReadyInANetworkOfItsOwn(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to make a network namespace")
	}
	dir := t.TempDir()
	program := filepath.Join(dir, "pillion-webhook")
	if out, err := exec.Command("go", "build", "-o", program, ".").CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "config.yaml"), []byte("apiVersion: pillion.dev/v1alpha1\nkind: InjectorConfig\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	writeCertificate(t, dir)
	script := `ip link set lo up
"$0" --config config.yaml --cert-dir . --host 127.0.0.1 --port 9443 --status-port 8080 --shutdown-delay 0s & program=$!
for attempt in $(seq 300); do
	exec 3<>/dev/tcp/127.0.0.1/8080 && printf 'GET /readyz HTTP/1.0\r\n\r\n' >&3 && grep -q '200 OK' <&3 && break
	sleep 0.1
done
[ "$attempt" -lt 300 ] || exit 3
kill -TERM $program
wait $program`
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	command := exec.CommandContext(ctx, "unshare", "--net", "bash", "-c", script, program)
	command.Dir = dir
	command.Env = []string{"PATH=" + os.Getenv("PATH")}
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
}
