package node

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"math/big"
	"regexp"
	"strings"
	"testing"
	"time"
)

// otherWebhook is a mutating webhook of somebody else, for namespaces with the label
// other=NAME, called after ours and again when ours has changed something. HOW is what
// it does: see hack/cluster/node/app/damage.go.
const otherWebhook = `
apiVersion: v1
kind: Secret
metadata: {name: tls, namespace: NS}
data: {tls.crt: CERTIFICATE, tls.key: KEY}
---
apiVersion: apps/v1
kind: Deployment
metadata: {name: other, namespace: NS}
spec:
  selector: {matchLabels: {app: other}}
  template:
    metadata: {labels: {app: other}}
    spec:
      terminationGracePeriodSeconds: 1
      containers:
      - name: app
        image: localhost/pillion/app:1
        args: [damage, -certificates, /tls]
        readinessProbe: {tcpSocket: {port: 8443}, periodSeconds: 1}
        volumeMounts: [{name: tls, mountPath: /tls}]
      volumes: [{name: tls, secret: {secretName: tls}}]
---
apiVersion: v1
kind: Service
metadata: {name: other, namespace: NS}
spec: {selector: {app: other}, ports: [{port: 443, targetPort: 8443}]}
---
apiVersion: admissionregistration.k8s.io/v1
kind: MutatingWebhookConfiguration
metadata: {name: z-other-NAME}
webhooks:
- name: NAME.other.example.com
  admissionReviewVersions: [v1]
  sideEffects: None
  failurePolicy: Fail
  reinvocationPolicy: IfNeeded
  clientConfig: {caBundle: CERTIFICATE, service: {name: other, namespace: NS, path: /HOW}}
  namespaceSelector: {matchLabels: {other: NAME}}
  rules: [{operations: [CREATE], apiGroups: [""], apiVersions: [v1], resources: [pods]}]
`

// installOther starts the other webhook in a namespace of its own, and returns when
// kube-apiserver reaches it.
func installOther(t *testing.T, name, how string) {
	t.Helper()
	ns := newNamespace(t, "other-"+name)
	certificate, key := selfSigned(t, "other."+ns+".svc")
	t.Cleanup(func() {
		if output, err := tryKubectl(context.Background(), "", "delete", "mutatingwebhookconfiguration", "z-other-"+name); err != nil {
			t.Error(output)
		}
	})
	manifest := strings.NewReplacer("NS", ns, "NAME", name, "HOW", how, "CERTIFICATE", certificate, "KEY", key).Replace(otherWebhook)
	if output, err := tryKubectl(t.Context(), manifest, "apply", "-f", "-"); err != nil {
		t.Fatal(output)
	}
	rolledOut(t, ns, "deployment/other")
	asked := newNamespace(t, "asks-"+name, "other="+name)
	eventually(t, "kube-apiserver reaches the other webhook", func() bool {
		_, err := tryKubectl(t.Context(), strings.ReplaceAll(podOf("asked"), "NS", asked), "create", "--dry-run=server", "-f", "-")
		return err == nil
	})
}

// selfSigned is a certificate that is its own CA, and its key, as in a Secret.
func selfSigned(t *testing.T, name string) (certificate, key string) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), DNSNames: []string{name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	encoded, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := func(kind string, bytes []byte) string {
		return base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: bytes}))
	}
	return text("CERTIFICATE", der), text("PRIVATE KEY", encoded)
}

// TestDamagingWebhooks: a webhook that comes after ours rebuilds the sidecar as an
// ordinary init container, or puts it before what it is started from. Its pods are
// reported as damaged, with what is wrong; a neighbour whose webhook only adds something
// is not. Of a sidecar that lost its restartPolicy and kept its probes kube-apiserver
// itself takes no pod.
func TestDamagingWebhooks(t *testing.T) {
	for how, sentence := range map[string]string{
		"rebuild": `the init container envoy has the restartPolicy "" and not Always`,
		"reorder": "the init container pillion-init comes after envoy",
		"note":    "",
	} {
		t.Run(how, func(t *testing.T) {
			installOther(t, how, how)
			ns := newNamespace(t, "damaged-"+how, optedIn, "other="+how)
			apply(t, ns, podOf("pod"))
			output, code := pillionctl(t, "status", "-n", ns)
			row, wantCode := `(?m)^\S+ +pod/pod +0 +0 +1 +0 +0 `, 1
			if sentence == "" {
				row, wantCode = `(?m)^\S+ +pod/pod +1 +0 +0 +0 +0`, 0
			}
			if code != wantCode || !regexp.MustCompile(row).MatchString(output) || !strings.Contains(output, sentence) {
				t.Errorf("pillionctl status ended with %d and said\n%s", code, output)
			}
		})
	}
	t.Run("strip", func(t *testing.T) {
		installOther(t, "strip", "strip")
		ns := newNamespace(t, "damaged-strip", optedIn, "other=strip")
		output, err := tryKubectl(t.Context(), strings.ReplaceAll(podOf("pod"), "NS", ns), "apply", "-f", "-")
		if err == nil || !strings.Contains(output, "may not be set for init containers without restartPolicy=Always") {
			t.Errorf("kube-apiserver said %q, %v", output, err)
		}
	})
}
