package node

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/e2e/admissions"
)

// TestCreations: while pods are created without a pause, the webhook is rolled and its
// CA replaced. None is missed or refused, and the replicas need no more memory than
// before. One of 49 is stored; the others end where they would be.
//
// The short form takes a minute, the long one (`make soak`) is 12,000 pods at 100 a
// second, which is what a tuned cluster does when a fifth of 2,000 nodes is lost.
func TestCreations(t *testing.T) {
	perSecond, least, rounds := 25, 1000, 1
	if os.Getenv("PILLION_SOAK") != "" {
		perSecond, least, rounds = 100, 12_000, 2
	}
	apiServer := apiServerConfig(t)
	c, err := client.New(apiServer, client.Options{})
	if err != nil {
		t.Fatal(err)
	}
	ordinary, strict := newNamespace(t, "creations", optedIn), newNamespace(t, "creations-strict", optedIn, "pillion.dev/strict=true")
	l := &admissions.Load{Client: c, Namespaces: []string{ordinary, strict}, PerSecond: perSecond, StoreEach: 49}
	// kube-proxy leads to replicas a moment after they are ready (docs/limits.md).
	eventually(t, "kube-apiserver reaches the webhook", func() bool {
		first := &admissions.Load{Client: c}
		first.Create(t.Context(), ordinary, 1)
		first.Create(t.Context(), strict, 1)
		return len(first.Lost()) == 0
	})
	before := admissions.TimesOf(t, apiServer)
	stop := l.Start(t)
	began := len(l.All())
	var memory [][]int
	for range rounds {
		memory = append(memory, residentMemory(t))
		replaceCA(t)
		kubectl(t, "-n", release, "rollout", "restart", "deployment/pillion-webhook")
		rolledOut(t, release, "deployment/pillion-webhook")
	}
	eventually(t, "there are enough creations", func() bool { return len(l.All())-began >= least })
	memory = append(memory, residentMemory(t))
	stop()
	l.Check(t, least)
	for _, name := range []string{"inject.pillion.dev", "strict.inject.pillion.dev"} {
		took := admissions.TimesOf(t, apiServer)[name].Since(before[name])
		t.Logf("%s, by kube-apiserver's own metrics: %d calls, p50 %s, p99 %s", name, took.Count, took.Quantile(0.5), took.Quantile(0.99))
		if took.Count < uint64(least/len(l.Namespaces)) {
			t.Errorf("kube-apiserver counted %d calls of %s", took.Count, name)
		}
	}
	t.Logf("MiB of the replicas, before each roll and at the end: %v", memory)
	checkMemory(t, memory)
	if stored := strings.Fields(field(t, strict, "pods", ".items[*].metadata.name")); len(stored) < least/200 {
		t.Errorf("%d pods are stored in %s", len(stored), strict)
	}
}

// checkMemory holds the replicas to what one may have under this load, by
// docs/performance.md and some to spare.
func checkMemory(t *testing.T, memory [][]int) {
	t.Helper()
	const most = 64
	for _, replicas := range memory {
		for _, of := range replicas {
			if of == 0 || of > most {
				t.Errorf("a replica has %d MiB, want up to %d", of, most)
			}
		}
	}
}

// replaceCA takes the CA's key away, so that the controller makes another CA, and
// returns when every replica serves a certificate of the new one.
func replaceCA(t *testing.T) {
	t.Helper()
	began, before := time.Now(), servingCertificate(t)
	kubectl(t, "-n", release, "patch", "secret", "pillion-webhook-tls", "--type=json", "-p", `[{"op":"remove","path":"/data/ca.key"}]`)
	eventually(t, "each replica serves a certificate of the new CA", func() bool {
		now := servingCertificate(t)
		if now.Equal(before) {
			return false
		}
		for _, of := range replicas(t) {
			since, err := metricOf(t, of, "pillion_webhook_certificate_not_before_timestamp_seconds")
			if err != nil || int64(since) != now.NotBefore.Unix() {
				return false
			}
		}
		return true
	})
	t.Logf("the CA was replaced within %s", time.Since(began).Round(time.Second))
}

// servingCertificate is the one in the release's Secret.
func servingCertificate(t *testing.T) *x509.Certificate {
	t.Helper()
	text, err := base64.StdEncoding.DecodeString(field(t, release, "secret/pillion-webhook-tls", ".data.tls\\.crt"))
	if err != nil {
		t.Fatal(err)
	}
	block, _ := pem.Decode(text)
	if block == nil {
		t.Fatalf("the Secret's tls.crt is %q", text)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return certificate
}

// replicas are the webhook's pods that are not about to go.
func replicas(t *testing.T) []string {
	t.Helper()
	var names []string
	pods := kubectl(t, "-n", release, "get", "pods", "-l", "app.kubernetes.io/component=webhook", "-o", `jsonpath={range .items[*]}{.metadata.name} {.metadata.deletionTimestamp}{"\n"}{end}`)
	for line := range strings.Lines(pods) {
		if fields := strings.Fields(line); len(fields) == 1 {
			names = append(names, fields[0])
		}
	}
	return names
}

func residentMemory(t *testing.T) []int {
	t.Helper()
	var mebibytes []int
	for _, of := range replicas(t) {
		bytes, err := metricOf(t, of, "process_resident_memory_bytes")
		if err != nil {
			t.Error(err)
		}
		mebibytes = append(mebibytes, int(bytes)>>20)
	}
	return mebibytes
}

// metricOf reads one series of a pod of the release, through kube-apiserver.
func metricOf(t *testing.T, pod, series string) (float64, error) {
	t.Helper()
	text, err := tryKubectl(t.Context(), "", "get", "--raw", "/api/v1/namespaces/"+release+"/pods/"+pod+":8080/proxy/metrics")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(text) {
		if value, ok := strings.CutPrefix(line, series+" "); ok {
			return strconv.ParseFloat(strings.TrimSpace(value), 64)
		}
	}
	return 0, fmt.Errorf("pod %s has no series %s", pod, series)
}

// apiServerConfig is KUBECONFIG's, without a throttle and without warnings.
func apiServerConfig(t *testing.T) *rest.Config {
	t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", os.Getenv("KUBECONFIG"))
	if err != nil {
		t.Fatal(err)
	}
	config.QPS, config.WarningHandlerWithContext = -1, rest.NoWarnings{}
	return config
}
