package preflight

import (
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"time"
)

// parsePEM reads all certificates in a text.
func parsePEM(text []byte) ([]*x509.Certificate, error) {
	var all []*x509.Certificate
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, fmt.Errorf("reading certificate %d: %w", len(all)+1, err)
		}
		all = append(all, c)
	}
	return all, nil
}

// allEntries are those of both configurations.
func (f *Facts) allEntries(r *Installed) []entry { return append(f.mutating(r), f.validating(r)...) }

// caBundle looks at what kube-apiserver is told to trust.
func caBundle(f *Facts, r *Installed) []Finding {
	report := report{subject: r.String()}
	if f.Mutating.Err != nil || f.Validating.Err != nil {
		report.add(Unknown, "the caBundle was not looked at, since the webhook configurations could not be read")
	}
	for _, e := range f.allEntries(r) {
		authorities, err := parsePEM(e.client.CABundle)
		switch {
		case err != nil:
			report.problem("the caBundle of %s cannot be read: %v", &e, err)
		case len(authorities) == 0:
			report.problem("%s has no caBundle, so that kube-apiserver does not believe the webhook's certificate", &e)
		case allEnded(authorities, f.Now):
			report.problem("every CA in the caBundle of %s has ended, the last one on %s", &e, authorities[0].NotAfter.UTC().Format(time.RFC3339))
		}
	}
	return report.findings
}

func allEnded(certificates []*x509.Certificate, now time.Time) bool {
	for _, c := range certificates {
		if now.Before(c.NotAfter) {
			return false
		}
	}
	return true
}

// serving is the certificate that is served, with those that come with it.
func (r *Installed) serving() (leaf *x509.Certificate, others []*x509.Certificate, err error) {
	if r.Certificate.Err != nil {
		return nil, nil, r.Certificate.Err
	}
	all, err := parsePEM(r.Certificate.Value)
	if err != nil || len(all) == 0 {
		return nil, nil, err
	}
	return all[0], all[1:], nil
}

// certificateTrusted does what kube-apiserver does with the certificate.
func certificateTrusted(f *Facts, r *Installed) []Finding {
	report := report{subject: r.String()}
	leaf, others, err := r.serving()
	switch {
	case err != nil:
		report.unseen("the certificate in the webhook's Secret", err)
		return report.findings
	case leaf == nil:
		report.problem("the webhook's Secret has no tls.crt, so that no replica can serve")
		return report.findings
	}
	if f.Mutating.Err != nil || f.Validating.Err != nil {
		report.add(Unknown, "the certificate was not held against the caBundle, since the webhook configurations could not be read")
	}
	host := r.Name + "." + r.Namespace + ".svc"
	intermediates := x509.NewCertPool()
	for _, c := range others {
		intermediates.AddCert(c)
	}
	for _, e := range f.allEntries(r) {
		roots := x509.NewCertPool()
		if !roots.AppendCertsFromPEM(e.client.CABundle) {
			continue // which is a finding of its own
		}
		// At a time when it is valid: its end has a check of its own.
		options := x509.VerifyOptions{DNSName: host, Roots: roots, Intermediates: intermediates, CurrentTime: leaf.NotBefore.Add(time.Second)}
		if f.Now.After(leaf.NotBefore) && f.Now.Before(leaf.NotAfter) {
			options.CurrentTime = f.Now
		}
		if _, err := leaf.Verify(options); err != nil {
			report.problem("by the caBundle of %s, kube-apiserver does not believe the certificate in the Secret for %s: %v", &e, host, err)
		}
	}
	return report.findings
}

// renewedAfter is the part of a certificate's life after which one that goes on being
// served was not renewed: whoever renews it does so after two thirds.
const renewedAfter = 0.8

func certificateEnds(f *Facts, r *Installed) []Finding {
	report := report{subject: r.String()}
	leaf, _, err := r.serving()
	if err != nil {
		report.unseen("the certificate in the webhook's Secret", err)
		return report.findings
	}
	if leaf == nil {
		return report.findings // which is a finding of its own
	}
	end, life := leaf.NotAfter, leaf.NotAfter.Sub(leaf.NotBefore)
	switch {
	case !f.Now.Before(end):
		report.problem("the certificate in the Secret ended on %s", end.UTC().Format(time.RFC3339))
	case f.Now.Before(leaf.NotBefore):
		report.problem("the certificate in the Secret begins on %s only; is this machine's clock right?", leaf.NotBefore.UTC().Format(time.RFC3339))
	case f.Now.Sub(leaf.NotBefore).Seconds() > renewedAfter*life.Seconds():
		report.notice("the certificate in the Secret ends on %s and was not renewed", end.UTC().Format(time.RFC3339))
	}
	return report.findings
}
