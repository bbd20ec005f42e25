package webhook

import (
	"bytes"
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestProbe asks a real webhook, and one that is something else.
func TestProbe(t *testing.T) {
	r := start(t, nil)
	address := r.Address().String()
	folder := t.TempDir()
	write(t, filepath.Join(folder, "empty"), nil)
	own := filepath.Join(r.dir, "tls.crt")
	other, otherCA := strangerAt(t, folder)
	for _, test := range []struct {
		name    string
		options ProbeOptions
		// want is in what was said, or in the error.
		want  string
		fails bool
	}{
		{"answers", ProbeOptions{Address: address, CAFile: own}, "a pod with the label service-mesh-enabled=true gets its sidecar", false},
		{"no sidecar", ProbeOptions{Address: address, CAFile: own, Value: "True"}, "gets no sidecar: map[", true},
		{"excluded", ProbeOptions{Address: address, CAFile: own, Namespace: "kube-system"}, "ExcludedNamespace", true},
		{"certificate for another name", ProbeOptions{Address: "localhost" + strings.TrimPrefix(address, "127.0.0.1"), CAFile: own}, "but wanted to match localhost", true},
		{"another authority", ProbeOptions{Address: address, CAFile: otherCA}, "unknown authority", true},
		{"no authority", ProbeOptions{Address: address, CAFile: filepath.Join(folder, "empty")}, "no certificate in PEM", true},
		{"missing file", ProbeOptions{Address: address, CAFile: filepath.Join(folder, "none")}, "reading the authorities", true},
		{"something else", ProbeOptions{Address: other, CAFile: otherCA, Namespace: "nowhere"}, "HTTP 404: nothing here", true},
		{"about something else", ProbeOptions{Address: other, CAFile: otherCA}, `the answer is about "another"`, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			o := test.options
			o.Label, o.Timeout = "service-mesh-enabled", 10*time.Second
			if o.Value == "" {
				o.Value = "true"
			}
			if o.Namespace == "" {
				o.Namespace = "shop"
			}
			said, err := Probe(t.Context(), o)
			if err != nil {
				said = err.Error()
			}
			if test.fails != (err != nil) || !strings.Contains(said, test.want) {
				t.Errorf("%q (an error: %t), want %q", said, err != nil, test.want)
			}
		})
	}
}

// strangerAt is an HTTPS server that is no webhook, and the file of its authority.
func strangerAt(t *testing.T, folder string) (address, file string) {
	t.Helper()
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if body, err := io.ReadAll(r.Body); err != nil || bytes.Contains(body, []byte("nowhere")) {
			http.Error(w, "nothing here", http.StatusNotFound)
			return
		}
		_, _ = w.Write([]byte(`{"response": {"uid": "another", "allowed": true}}`))
	}))
	t.Cleanup(server.Close)
	file = filepath.Join(folder, "stranger.pem")
	certificate := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(file, certificate, 0o600); err != nil {
		t.Fatal(err)
	}
	return strings.TrimPrefix(server.URL, "https://"), file
}
