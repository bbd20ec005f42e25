package certificates

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"time"

	"github.com/cert-manager/cert-manager/pkg/util/pki"
)

const (
	// keySize in bits: an ECDSA key on P-256, whose handshakes cost the least.
	keySize = 256
	// backdate is by how much the clock of a kube-apiserver may be behind ours.
	backdate = 5 * time.Minute
	// maxCommonName is X.509's limit for it.
	maxCommonName = 64
)

// newCA makes a CA that can sign for the host alone.
func (p Policy) newCA(now time.Time) (*pair, error) {
	template := &x509.Certificate{
		Subject:                     pkix.Name{Organization: []string{"pillion.dev"}, CommonName: "pillion webhook CA"},
		NotBefore:                   now.Add(-backdate),
		NotAfter:                    now.Add(p.CALifetime),
		KeyUsage:                    x509.KeyUsageCertSign,
		IsCA:                        true,
		BasicConstraintsValid:       true,
		MaxPathLenZero:              true,
		PermittedDNSDomainsCritical: true,
		PermittedDNSDomains:         []string{p.Host},
	}
	return sign(template, nil)
}

// newServing makes a certificate for the host.
func (p Policy) newServing(now time.Time, authority *pair) (*pair, error) {
	template := &x509.Certificate{
		Subject:               pkix.Name{Organization: []string{"pillion.dev"}, CommonName: p.Host[:min(len(p.Host), maxCommonName)]},
		DNSNames:              []string{p.Host},
		NotBefore:             now.Add(-backdate),
		NotAfter:              earlier(now.Add(p.ServingLifetime), authority.certificate.NotAfter),
		KeyUsage:              x509.KeyUsageDigitalSignature,
		ExtKeyUsage:           []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
		BasicConstraintsValid: true,
	}
	return sign(template, authority)
}

// sign makes a key and a certificate for it, signed by the authority or, without
// one, by itself.
func sign(template *x509.Certificate, authority *pair) (*pair, error) {
	key, err := pki.GenerateECPrivateKey(keySize)
	if err != nil {
		return nil, fmt.Errorf("making a key: %w", err)
	}
	if authority == nil {
		authority = &pair{template, key}
	}
	_, certificate, err := pki.SignCertificate(template, authority.certificate, key.Public(), authority.key)
	if err != nil {
		return nil, fmt.Errorf("signing: %w", err)
	}
	return &pair{certificate, key}, nil
}

// issued is when we made a certificate.
func issued(c *x509.Certificate) time.Time { return c.NotBefore.Add(backdate) }

// renewal is when two thirds of a certificate's life are over.
func renewal(c *x509.Certificate) time.Time {
	return c.NotAfter.Add(-c.NotAfter.Sub(issued(c)) / 3)
}

// dated says whether a certificate's time has not come or is about to be over.
func dated(now time.Time, c *x509.Certificate) Reason {
	switch {
	case now.Before(c.NotBefore):
		return NotYetValid
	case !now.Before(renewal(c)):
		return Expiring
	default:
		return ""
	}
}

func span(c *x509.Certificate) string {
	return fmt.Sprintf("it is valid from %s to %s", c.NotBefore.UTC().Format(time.RFC3339), c.NotAfter.UTC().Format(time.RFC3339))
}

func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
