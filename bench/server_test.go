package bench

import (
	"context"
	"crypto/x509"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/util/cert"
)

// server is a process that answers POST /mutate on the loopback.
type server struct {
	name, url string
	roots     *x509.CertPool
	process   *os.Process
}

func startWebhook(b *testing.B) *server {
	b.Helper()
	folder := b.TempDir()
	config := filepath.Join(folder, "config.yaml")
	write(b, config, []byte(defaultConfig))
	address := freeAddress(b)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		b.Fatal(err)
	}
	_, statusPort, err := net.SplitHostPort(freeAddress(b))
	if err != nil {
		b.Fatal(err)
	}
	return start(b, "pillion", "../cmd/pillion-webhook", folder, address,
		"--config="+config, "--host=127.0.0.1", "--port="+port, "--status-port="+statusPort, "--shutdown-delay=0s")
}

func startConstant(b *testing.B, uid string) *server {
	b.Helper()
	address := freeAddress(b)
	return start(b, "constant", "./constant", b.TempDir(), address, "--address="+address, "--uid="+uid)
}

// start builds a program and runs it until the benchmark ends.
func start(b *testing.B, name, source, folder, address string, args ...string) *server {
	b.Helper()
	program := filepath.Join(folder, name)
	if out, err := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-o", program, source).CombinedOutput(); err != nil {
		b.Fatalf("building %s: %v: %s", source, err, out)
	}
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		b.Fatal(err)
	}
	write(b, filepath.Join(folder, "tls.crt"), certificate)
	write(b, filepath.Join(folder, "tls.key"), key)
	s := &server{name: name, url: "https://" + address + "/mutate?timeout=5s", roots: x509.NewCertPool()}
	s.roots.AppendCertsFromPEM(certificate)
	command := exec.CommandContext(context.WithoutCancel(b.Context()), program, append(args, "--cert-dir="+folder)...)
	log, err := os.Create(filepath.Join(folder, "log"))
	if err != nil {
		b.Fatal(err)
	}
	command.Stdout, command.Stderr = log, log
	if err := command.Start(); err != nil {
		b.Fatal(err)
	}
	s.process = command.Process
	b.Cleanup(func() {
		_ = command.Process.Kill()
		_ = command.Wait()
		_ = log.Close()
	})
	waitFor(b, address)
	return s
}

func waitFor(b *testing.B, address string) {
	b.Helper()
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		connection, err := new(net.Dialer).DialContext(b.Context(), "tcp", address)
		if err == nil {
			_ = connection.Close()
			return
		}
		if time.Now().After(deadline) {
			b.Fatalf("nothing listens on %s: %v", address, err)
		}
	}
}

func freeAddress(b *testing.B) string {
	b.Helper()
	listener, err := new(net.ListenConfig).Listen(b.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		b.Fatal(err)
	}
	defer listener.Close()
	return listener.Addr().String()
}

func write(b *testing.B, path string, content []byte) {
	b.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		b.Fatal(err)
	}
}

// tick is the unit of utime and stime, which Linux fixes at 100 a second.
const tick = 10 * time.Millisecond

// cpu that the process has used, in user mode and in the kernel.
func (s *server) cpu(b *testing.B) time.Duration {
	b.Helper()
	_, fields, _ := strings.Cut(s.proc(b, "stat"), ") ")
	var sum time.Duration
	for _, field := range strings.Fields(fields)[11:13] {
		ticks, err := strconv.Atoi(field)
		if err != nil {
			b.Fatal(err)
		}
		sum += time.Duration(ticks) * tick
	}
	return sum
}

// resident memory of the process, in MiB.
func (s *server) resident(b *testing.B) float64 {
	b.Helper()
	_, rest, _ := strings.Cut(s.proc(b, "status"), "VmRSS:")
	var kib float64
	if _, err := fmt.Sscan(rest, &kib); err != nil {
		b.Fatal(err)
	}
	return kib / 1024
}

func (s *server) proc(b *testing.B, file string) string {
	b.Helper()
	content, err := os.ReadFile("/proc/" + strconv.Itoa(s.process.Pid) + "/" + file)
	if err != nil {
		b.Fatal(err)
	}
	return string(content)
}
