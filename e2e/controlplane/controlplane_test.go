package controlplane

import (
	"os"
	"os/exec"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// The version is the program's own, since clients judge by it. A pod is stored
// without a ServiceAccount. Nothing runs afterwards.
func TestStartAndStop(t *testing.T) {
	plane, err := Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	running := children(t, os.Getpid())
	checkVersion(t, plane)
	createPod(t, plane)
	if err := plane.Stop(); err != nil {
		t.Fatal(err)
	}
	checkPrograms(t, running)
	for pid, program := range running {
		if alive(pid) {
			t.Errorf("%s runs on after Stop, as process %d", program, pid)
		}
	}
	if _, err := os.Stat(plane.folder); err == nil {
		t.Errorf("Stop leaves %s behind", plane.folder)
	}
}

func checkVersion(t *testing.T, plane *ControlPlane) {
	t.Helper()
	server, err := discovery.NewDiscoveryClientForConfig(plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	version, err := server.ServerVersion()
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
}

func createPod(t *testing.T, plane *ControlPlane) {
	t.Helper()
	c, err := client.New(plane.Config, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "app", Namespace: "new"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
	for _, object := range []client.Object{&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "new"}}, pod} {
		if err := c.Create(t.Context(), object); err != nil {
			t.Fatal(err)
		}
	}
	if pod.UID == "" {
		t.Error("the pod was not stored")
	}
}

// What a program said when it gave up is in the error, and etcd does not stay behind.
func TestAWrongFlag(t *testing.T) {
	_, err := Start(t.Context(), Flag{Name: "audit-log-maxage", Value: "young"})
	if err == nil || !strings.Contains(err.Error(), `invalid argument "young"`) {
		t.Errorf("got %v, want an error with kube-apiserver's own words", err)
	}
	for pid, program := range children(t, os.Getpid()) {
		if alive(pid) {
			t.Errorf("%s runs on, as process %d", program, pid)
		}
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

// It starts on a machine that is on no network: without a default route, and with
// the loopback alone.
func TestStartsWithoutANetwork(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root, to make a network namespace")
	}
	const script = `ip link set lo up && exec "$0" -test.run='^TestStartAndStop$' -test.count=1`
	child := exec.CommandContext(t.Context(), "unshare", "--net", "bash", "-c", script, os.Args[0])
	if output, err := child.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, output)
	}
}
