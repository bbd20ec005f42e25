package webhook

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"gomodules.xyz/jsonpatch/v2"
	admissionv1 "k8s.io/api/admission/v1"

	"github.com/pillion-mesh/pillion/injector"
)

const (
	// testUID is the request.uid of test reviews.
	testUID = "705ab4f5-6393-11e8-b7cc-42010a800002"
	testPod = `{"apiVersion":"v1","kind":"Pod","metadata":{"generateName":"app-","namespace":"shop",` +
		`"labels":{"service-mesh-enabled":"true"}},"spec":{"containers":[{"name":"app","image":"app:1"}]}}`
	// contentType of a review.
	contentType = "application/json"
)

// reviewOf is an AdmissionReview about the creation of a pod.
func reviewOf(pod string) string {
	return fmt.Sprintf(`{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1","request":{"uid":%q,`+
		`"kind":{"group":"","version":"v1","kind":"Pod"},"resource":{"group":"","version":"v1","resource":"pods"},`+
		`"namespace":"shop","operation":"CREATE","userInfo":{},"object":%s,"oldObject":null,"dryRun":false,"options":null}}`, testUID, pod)
}

// decided is an inject function that always says the same.
func decided(r injector.Result) func(injector.Request) injector.Result {
	return func(injector.Request) injector.Result { return r }
}

// injected is a Result with a patch that fits any pod.
func injected() injector.Result {
	return injector.Result{
		Decision: injector.Decision{Verdict: injector.Inject, Reason: injector.ReasonInjected},
		Patch:    []jsonpatch.Operation{{Operation: "add", Path: "/new", Value: false}},
	}
}

// logLines is a log that tests look into.
type logLines struct {
	mutex sync.Mutex
	text  bytes.Buffer
}

func (l *logLines) Write(line []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.Write(line)
}

func (l *logLines) String() string {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	return l.text.String()
}

// newTestHandler answers by inject; nil is a Handler without configuration.
func newTestHandler(inject func(injector.Request) injector.Result) (*Handler, *logLines) {
	lines := &logLines{}
	configuration := &Configuration{}
	if inject != nil {
		configuration.current.Store(&loaded{inject: inject, hash: "test"})
	}
	return NewHandler(HandlerOptions{
		Configuration: configuration, Metrics: NewMetrics(), SelfCheck: true, MaxInFlight: 4,
		Log: slog.New(slog.NewJSONHandler(lines, nil)),
	}), lines
}

// post sends a body as kube-apiserver would.
func post(h http.Handler, body string) *httptest.ResponseRecorder { return postTo(h, "/mutate", body) }

func postTo(h http.Handler, path, body string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(http.MethodPost, path+"?timeout=5s", strings.NewReader(body))
	r.Header.Set("Content-Type", contentType)
	w := httptest.NewRecorder()
	h.ServeHTTP(w, r)
	return w
}

// responseOf reads a response as kube-apiserver does.
func responseOf(t *testing.T, w *httptest.ResponseRecorder) *admissionv1.AdmissionResponse {
	t.Helper()
	var review admissionv1.AdmissionReview
	if err := json.Unmarshal(w.Body.Bytes(), &review); err != nil || w.Code != http.StatusOK || review.Response == nil {
		t.Fatalf("not a response: HTTP %d, %q: %v", w.Code, w.Body, err)
	}
	if review.Kind != "AdmissionReview" || review.APIVersion != "admission.k8s.io/v1" || review.Response.UID != testUID {
		t.Errorf("kube-apiserver does not accept kind %q of %q for UID %q", review.Kind, review.APIVersion, review.Response.UID)
	}
	return review.Response
}

// writeCertificate makes a self-signed serving certificate in dir, with the
// serial number given, and a client that trusts it.
func writeCertificate(t *testing.T, dir string, serial int64) *tls.Config {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "pillion-webhook"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	keyPEM := pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})
	write(t, filepath.Join(dir, "tls.crt"), certificate)
	write(t, filepath.Join(dir, "tls.key"), keyPEM)
	pair, err := tls.X509KeyPair(certificate, keyPEM)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(certificate)
	return &tls.Config{RootCAs: roots, ServerName: "127.0.0.1", Certificates: []tls.Certificate{pair}}
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

// value of a counter or gauge.
func value(t *testing.T, metric prometheus.Metric) float64 {
	t.Helper()
	var m dto.Metric
	if err := metric.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue() + m.GetGauge().GetValue()
}

// minimalConfig is the least configuration that can be used.
const minimalConfig = "apiVersion: pillion.dev/v1alpha1\nkind: InjectorConfig\n"
