package replicas

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	admission "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"github.com/pillion-mesh/pillion/controller/certificates"
	"github.com/pillion-mesh/pillion/e2e/admissions"
)

// throttle puts a process into a control group of its own. What it returns gives it that
// much of one core.
func throttle(t *testing.T, pid int) func(cores float64) {
	t.Helper()
	const period = 100_000                                                  // microseconds
	root, file, format := "/sys/fs/cgroup/cpu", "cpu.cfs_quota_us", "%d"    // of a period that is the same by default
	if _, err := os.Stat("/sys/fs/cgroup/cgroup.controllers"); err == nil { // version 2
		root, file, format = "/sys/fs/cgroup", "cpu.max", "%d "+strconv.Itoa(period)
	}
	folder, err := os.MkdirTemp(root, "pillion-test-")
	if err == nil {
		t.Cleanup(func() { // it has to be empty, and the process goes on
			_ = os.WriteFile(filepath.Join(root, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o600)
			_ = os.Remove(folder)
		})
		err = os.WriteFile(filepath.Join(folder, "cgroup.procs"), []byte(strconv.Itoa(pid)), 0o600)
	}
	if err != nil {
		t.Skipf("needs root and a control group for the CPU: %v", err)
	}
	return func(cores float64) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, file), fmt.Appendf(nil, format, int(cores*period)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// caller posts reviews as kube-apiserver does.
type caller struct {
	client *http.Client
	url    string
	review []byte
}

func (s *system) newCaller(t *testing.T, address string, timeout time.Duration) *caller {
	t.Helper()
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(s.secret(t).Data[certificates.CABundleKey])
	pod, err := json.Marshal(admissions.Pod(s.ignore, "asked"))
	if err != nil {
		t.Fatal(err)
	}
	review, err := json.Marshal(admission.AdmissionReview{
		TypeMeta: metav1.TypeMeta{APIVersion: "admission.k8s.io/v1", Kind: "AdmissionReview"},
		Request: &admission.AdmissionRequest{
			UID: "u", Kind: metav1.GroupVersionKind{Version: "v1", Kind: "Pod"}, Namespace: s.ignore,
			Operation: admission.Create, Object: runtime.RawExtension{Raw: pod},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: roots, ServerName: s.release.Object("Service").GetName() + "." + ownNamespace + ".svc"},
		MaxIdleConnsPerHost: 25, // kube-apiserver's
	}
	t.Cleanup(transport.CloseIdleConnections)
	return &caller{&http.Client{Transport: transport, Timeout: timeout}, "https://" + address + "/mutate?timeout=" + timeout.String(), review}
}

// ask returns the status of the answer; 0 where there was none.
func (c *caller) ask(ctx context.Context) (status int, err error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, c.url, bytes.NewReader(c.review))
	if err != nil {
		return 0, err
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := c.client.Do(request)
	if err != nil {
		return 0, err
	}
	defer response.Body.Close()
	_, err = io.Copy(io.Discard, response.Body)
	return response.StatusCode, err
}

func sum(counts map[string]int) int {
	all := 0
	for _, count := range counts {
		all += count
	}
	return all
}

// threeAPIServers have that many changes under way (200 each, --max-mutating-requests-inflight).
const threeAPIServers = 600

func answerOf(status int, err error) string {
	switch timeout := net.Error(nil); {
	case err == nil:
		return strconv.Itoa(status)
	case errors.As(err, &timeout) && timeout.Timeout():
		return "timeout"
	case errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE):
		return "reset"
	default:
		return err.Error()
	}
}

// overload asks so often a second, for five of them, and counts the answers.
func (c *caller) overload(ctx context.Context, perSecond int, answers map[string]int, slowest map[string]time.Duration) {
	var mutex sync.Mutex
	var running sync.WaitGroup
	slots := make(chan struct{}, threeAPIServers)
	ticker := time.NewTicker(time.Second / time.Duration(perSecond))
	defer ticker.Stop()
	for until := time.Now().Add(5 * time.Second); time.Now().Before(until); <-ticker.C {
		slots <- struct{}{}
		running.Go(func() {
			started := time.Now()
			answer := answerOf(c.ask(ctx))
			<-slots
			mutex.Lock()
			defer mutex.Unlock()
			answers[answer]++
			slowest[answer] = max(slowest[answer], time.Since(started))
		})
	}
	running.Wait()
}

// TestTenTimesTheCapacity: "ten times the capacity (fast 503s, recovery within 5 s)",
// for a replica with a tenth of a core. All but a few of the first ones are answered
// before their timeout, by a decision, a 503 or a reset (without shedding a quarter is
// not); afterwards every one by a decision.
func TestTenTimesTheCapacity(t *testing.T) {
	const timeout = 5 * time.Second
	s := newSystem(t, nil)
	s.startController(t)
	r := s.addReplica(t, 200*time.Millisecond)
	s.waitReady(t, 1)
	cores, throttled := 0.1, throttle(t, r.PID())
	throttled(cores)
	c := s.newCaller(t, r.Address, timeout)

	capacity := 0
	for until := time.Now().Add(2 * time.Second); time.Now().Before(until); capacity++ {
		if status, err := c.ask(t.Context()); status != http.StatusOK {
			t.Fatalf("status %d, %v", status, err)
		}
	}
	perSecond := max(capacity/2, 10) * 10

	answers, slowest := map[string]int{}, map[string]time.Duration{}
	c.overload(t.Context(), perSecond, answers, slowest)
	// Where the callers are too slow for ten times as much, the replica gets slower.
	for answers["503"]+answers["reset"] == 0 && cores > 0.02 {
		cores /= 2
		throttled(cores)
		c.overload(t.Context(), perSecond, answers, slowest)
	}
	t.Logf("capacity %d a second, asked %d a second, in the end with %v cores: %v, slowest %v", capacity/2, perSecond, cores, answers, slowest)
	if late, all := answers["timeout"], sum(answers); late*2 > all {
		t.Errorf("%d of %d requests had no answer in %s", late, all, timeout)
	}
	if answers["200"] == 0 || answers["503"]+answers["reset"] == 0 {
		t.Error("want some that were decided on, and some that were turned away")
	}
	eventually(t, "every request is decided on again", func() bool {
		for range 5 {
			if status, _ := c.ask(t.Context()); status != http.StatusOK {
				return false
			}
		}
		return true
	})
}
