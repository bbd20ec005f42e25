package webhook

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"time"

	"github.com/go-json-experiment/json"
)

// probeUID is the one review's that a probe sends. It is answered with the same.
const probeUID = "pillion-webhook-probe"

// ProbeOptions say which webhook is asked.
type ProbeOptions struct {
	// Address of the webhook's HTTPS port, as host:port. The certificate is to be for
	// the host.
	Address string
	// CAFile has the authorities in PEM that the webhook's certificate has to come
	// from, or the certificate itself.
	CAFile string
	// Label and Value are what opts a pod in.
	Label, Value string
	// Namespace that the pod in question is said to be in. It is not asked for.
	Namespace string
	// Timeout for everything.
	Timeout time.Duration
}

// Probe asks a webhook about a pod that opted in, as kube-apiserver does, and returns
// what it said, in one line. An answer without a sidecar is an error. Nothing comes of
// it: the review says that it is dry.
func Probe(ctx context.Context, o ProbeOptions) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, o.Timeout)
	defer cancel()
	authorities, err := os.ReadFile(o.CAFile)
	if err != nil {
		return "", fmt.Errorf("reading the authorities: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(authorities) {
		return "", fmt.Errorf("reading the authorities in %s: there is no certificate in PEM", o.CAFile)
	}
	start := time.Now()
	answer, err := o.ask(ctx, &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS13})
	if err != nil {
		return "", fmt.Errorf("asking %s about a pod: %w", o.Address, err)
	}
	if err := answer.judge(); err != nil {
		return "", fmt.Errorf("asking %s about a pod with the label %s=%s: %w", o.Address, o.Label, o.Value, err)
	}
	took := time.Since(start).Round(time.Millisecond)
	return fmt.Sprintf("%s answered in %s, with a certificate that is trusted: a pod with the label %s=%s gets its sidecar", o.Address, took, o.Label, o.Value), nil
}

// post sends the review and returns the answer.
func (o *ProbeOptions) post(ctx context.Context, config *tls.Config) ([]byte, error) {
	review, err := json.Marshal(map[string]any{
		"apiVersion": reviewAPIVersion, "kind": reviewKind,
		"request": map[string]any{
			"uid": probeUID, "operation": "CREATE", "dryRun": true, "namespace": o.Namespace, "name": "probe",
			"kind":     map[string]any{"group": "", "version": "v1", "kind": "Pod"},
			"resource": map[string]any{"group": "", "version": "v1", "resource": "pods"},
			"object": map[string]any{
				"apiVersion": "v1", "kind": "Pod",
				"metadata": map[string]any{"name": "probe", "namespace": o.Namespace, "labels": map[string]any{o.Label: o.Value}},
				"spec":     map[string]any{"containers": []any{map[string]any{"name": "app", "image": "app"}}},
			},
		},
	})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+o.Address+"/mutate", bytes.NewReader(review))
	if err != nil {
		return nil, err
	}
	request.Header.Set("Content-Type", "application/json")
	transport := &http.Transport{TLSClientConfig: config}
	defer transport.CloseIdleConnections()
	response, err := (&http.Client{Transport: transport}).Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	const most = 1 << 20
	body, err := io.ReadAll(io.LimitReader(response.Body, most))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("HTTP %d: %s", response.StatusCode, bytes.TrimSpace(body[:min(len(body), maxEcho)]))
	}
	return body, err
}

// probeAnswer is what a probe reads of a response.
type probeAnswer struct {
	UID     string `json:"uid"`
	Allowed bool   `json:"allowed"`
	Patch   []byte `json:"patch"`
	Status  struct {
		Message string `json:"message"`
	} `json:"status"`
	AuditAnnotations map[string]string `json:"auditAnnotations"`
}

// ask sends the review and returns the answer to it.
func (o *ProbeOptions) ask(ctx context.Context, config *tls.Config) (*probeAnswer, error) {
	body, err := o.post(ctx, config)
	if err != nil {
		return nil, err
	}
	var review struct {
		Response probeAnswer `json:"response"`
	}
	if err := json.Unmarshal(body, &review); err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	if uid := review.Response.UID; uid != probeUID {
		return nil, fmt.Errorf("the answer is about %q, not %q: it is no webhook of Pillion's", uid, probeUID)
	}
	return &review.Response, nil
}

// judge says what is wrong with an answer.
func (a *probeAnswer) judge() error {
	switch {
	case !a.Allowed:
		return fmt.Errorf("the pod is refused: %s", a.Status.Message)
	case len(a.Patch) == 0:
		return fmt.Errorf("the pod gets no sidecar: %v", a.AuditAnnotations)
	}
	return nil
}

// Check says what is wrong with the options.
func (o *ProbeOptions) Check() error {
	switch {
	case o.Address == "":
		return errors.New("--address is required: the webhook's HOST:PORT")
	case o.CAFile == "":
		return errors.New("--ca is required: the file with the authorities of the webhook's certificate")
	case o.Label == "" || o.Value == "":
		return errors.New("--label is KEY=VALUE, and neither is empty")
	case o.Timeout <= 0:
		return fmt.Errorf("--timeout is %s; accepted is more than 0s", o.Timeout)
	}
	return nil
}
