package controlplane

import (
	"net"
	"net/url"
	"os/exec"
	"strings"
	"testing"

	"k8s.io/client-go/discovery"
)

// The version is the program's own, since clients judge by it, and nothing listens afterwards.
func TestStartAndStop(t *testing.T) {
	plane, err := Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	client, err := discovery.NewDiscoveryClientForConfig(plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	version, err := client.ServerVersion()
	if err != nil {
		t.Fatal(err)
	}
	programs, err := Find(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	printed, err := exec.CommandContext(t.Context(), programs.APIServer, "--version").Output()
	if err != nil {
		t.Fatal(err)
	}
	if want := strings.TrimSpace(string(printed)); "Kubernetes "+version.GitVersion != want || strings.HasPrefix(version.GitVersion, "v0.") {
		t.Errorf("the API server answers as %q, and its program as %q", version.GitVersion, want)
	}
	if err := plane.Stop(); err != nil {
		t.Fatal(err)
	}
	address := plane.Config.Host
	if parsed, err := url.Parse(plane.Config.Host); err == nil && parsed.Host != "" {
		address = parsed.Host
	}
	if connection, err := net.Dial("tcp", address); err == nil {
		connection.Close()
		t.Errorf("something still listens on %s", address)
	}
}

func TestAProgramThatIsNotBuilt(t *testing.T) {
	t.Setenv("PILLION_CACHE", t.TempDir())
	t.Setenv("KUBEBUILDER_ASSETS", "")
	_, err := Find(t.Context())
	if err == nil || !strings.Contains(err.Error(), "hack/cluster/build") {
		t.Errorf("got %v, want an error that says what to run", err)
	}
}
