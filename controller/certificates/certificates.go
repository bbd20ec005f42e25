package certificates

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/cert-manager/cert-manager/pkg/util/pki"
)

// The keys of the Secret. Those of the serving certificate are the ones that
// cert-manager and kubectl write, too.
const (
	CABundleKey = "ca.crt" // every CA to trust, in PEM, the one that signs first
	CAKeyKey    = "ca.key" // the private key of the first CA
	ServingKey  = "tls.crt"
	KeyKey      = "tls.key"
)

// maxAuthorities are trusted at a time. There are two in a rotation; more come
// about only where somebody deletes the Secret again and again.
const maxAuthorities = 10

// Policy is how certificates are made.
type Policy struct {
	// Host is the only name that a certificate is good for, as
	// pillion-webhook.pillion-system.svc.
	Host string
	// CALifetime and ServingLifetime are how long certificates are valid. Each is
	// made anew after two thirds of it.
	CALifetime, ServingLifetime time.Duration
	// Settle is how long a CA is trusted before it signs.
	Settle time.Duration
}

// Kind is what a certificate is for.
type Kind string

// The kinds of certificates.
const (
	CA      Kind = "ca"
	Serving Kind = "serving"
)

// Reason is why a certificate had to be made.
type Reason string

// The reasons.
const (
	Missing     Reason = "missing"
	Garbage     Reason = "garbage"     // it cannot be read
	Mismatch    Reason = "mismatch"    // it and its key do not belong together
	Names       Reason = "names"       // it is not good for the host
	Issuer      Reason = "issuer"      // it is from no trusted CA, or not from the newest
	Expiring    Reason = "expiring"    // two thirds of its life are over
	NotYetValid Reason = "notYetValid" // the clock was ahead when it was made
)

// Reasons is the whole set.
func Reasons() []Reason {
	return []Reason{Missing, Garbage, Mismatch, Names, Issuer, Expiring, NotYetValid}
}

// Made says that a certificate was made, and why.
type Made struct {
	Kind   Kind
	Reason Reason
	// Detail is a sentence about what was wrong; may be empty.
	Detail string
}

// Outcome is what there should be.
type Outcome struct {
	// Data is the Secret's: what was given, with the certificates that had to
	// change. Keys that are not ours are kept.
	Data map[string][]byte
	// Made is in the order in which it was made.
	Made []Made
	// Expiry of each certificate.
	CAExpiry, ServingExpiry time.Time
	// Next is when something will have to be made.
	Next time.Time
}

// Changed says whether Data differs from what was given.
func (o *Outcome) Changed(given map[string][]byte) bool {
	return !maps.EqualFunc(o.Data, given, bytes.Equal)
}

// Renew looks at a Secret's data and returns what they should be at now. It fails
// only where a key cannot be made.
func (p Policy) Renew(now time.Time, data map[string][]byte) (*Outcome, error) {
	outcome := &Outcome{Data: maps.Clone(data)}
	if outcome.Data == nil {
		outcome.Data = map[string][]byte{}
	}
	authority, others, err := p.renewCA(now, data, outcome)
	if err != nil {
		return nil, fmt.Errorf("making a CA for %s: %w", p.Host, err)
	}
	trusted := append([]*x509.Certificate{authority.certificate}, others...)
	if outcome.Data[CABundleKey], err = encode(trusted); err != nil {
		return nil, err
	}
	outcome.CAExpiry = authority.certificate.NotAfter
	outcome.Next = renewal(authority.certificate)

	serving, err := p.renewServing(now, data, authority, trusted, outcome)
	if err != nil {
		return nil, fmt.Errorf("making a serving certificate for %s: %w", p.Host, err)
	}
	outcome.ServingExpiry = serving.NotAfter
	next := renewal(serving)
	if !signedBy(serving, authority.certificate) {
		next = p.settled(authority.certificate)
	}
	outcome.Next = earlier(outcome.Next, next)
	return outcome, nil
}

// pair is a certificate and its key.
type pair struct {
	certificate *x509.Certificate
	key         crypto.Signer
}

// renewCA returns the CA that signs and the others that are trusted.
func (p Policy) renewCA(now time.Time, data map[string][]byte, outcome *Outcome) (*pair, []*x509.Certificate, error) {
	present, unreadable := p.authorities(now, data[CABundleKey])
	current, made := p.currentCA(now, data, present, unreadable)
	if made == nil {
		others := slices.DeleteFunc(present, current.certificate.Equal)
		return current, newest(others, maxAuthorities-1), nil
	}
	current, err := p.newCA(now)
	if err != nil {
		return nil, nil, err
	}
	if outcome.Data[CAKeyKey], err = pki.EncodePKCS8PrivateKey(current.key); err != nil {
		return nil, nil, fmt.Errorf("encoding its key: %w", err)
	}
	outcome.Made = append(outcome.Made, *made)
	return current, newest(present, maxAuthorities-1), nil
}

// currentCA is the one of the authorities that has the key, unless it has to be
// replaced.
func (p Policy) currentCA(now time.Time, data map[string][]byte, present []*x509.Certificate, unreadable error) (*pair, *Made) {
	if len(data[CABundleKey]) == 0 || len(data[CAKeyKey]) == 0 {
		return nil, &Made{CA, Missing, ""}
	}
	key, err := pki.DecodePrivateKeyBytes(data[CAKeyKey])
	if err != nil {
		return nil, &Made{CA, Garbage, fmt.Sprintf("%s: %v", CAKeyKey, err)}
	}
	at := slices.IndexFunc(present, func(c *x509.Certificate) bool { return belongs(key, c) })
	switch {
	case at < 0 && unreadable != nil:
		return nil, &Made{CA, Garbage, fmt.Sprintf("%s: %v", CABundleKey, unreadable)}
	case at < 0 && len(present) == 0:
		return nil, &Made{CA, Expiring, fmt.Sprintf("no CA in %s that could sign for %s is valid", CABundleKey, p.Host)}
	case at < 0:
		return nil, &Made{CA, Mismatch, fmt.Sprintf("%s is the key of no CA in %s", CAKeyKey, CABundleKey)}
	}
	if reason := dated(now, present[at]); reason != "" {
		return nil, &Made{CA, reason, span(present[at])}
	}
	return &pair{present[at], key}, nil
}

// renewServing returns the certificate to serve with.
func (p Policy) renewServing(now time.Time, data map[string][]byte, authority *pair, trusted []*x509.Certificate, outcome *Outcome) (*x509.Certificate, error) {
	current, made := p.currentServing(now, data, authority.certificate, trusted)
	if made == nil {
		return current, nil
	}
	serving, err := p.newServing(now, authority)
	if err != nil {
		return nil, err
	}
	if outcome.Data[ServingKey], err = pki.EncodeX509(serving.certificate); err != nil {
		return nil, fmt.Errorf("encoding it: %w", err)
	}
	if outcome.Data[KeyKey], err = pki.EncodePKCS8PrivateKey(serving.key); err != nil {
		return nil, fmt.Errorf("encoding its key: %w", err)
	}
	outcome.Made = append(outcome.Made, *made)
	return serving.certificate, nil
}

// currentServing is the serving certificate, unless it has to be replaced.
func (p Policy) currentServing(now time.Time, data map[string][]byte, authority *x509.Certificate, trusted []*x509.Certificate) (*x509.Certificate, *Made) {
	if len(data[ServingKey]) == 0 || len(data[KeyKey]) == 0 {
		return nil, &Made{Serving, Missing, ""}
	}
	current, err := pki.DecodeX509CertificateBytes(data[ServingKey])
	if err != nil {
		return nil, &Made{Serving, Garbage, fmt.Sprintf("%s: %v", ServingKey, err)}
	}
	key, err := pki.DecodePrivateKeyBytes(data[KeyKey])
	if err != nil {
		return nil, &Made{Serving, Garbage, fmt.Sprintf("%s: %v", KeyKey, err)}
	}
	if !belongs(key, current) {
		return nil, &Made{Serving, Mismatch, fmt.Sprintf("%s is not the key of %s", KeyKey, ServingKey)}
	}
	if err := current.VerifyHostname(p.Host); err != nil {
		return nil, &Made{Serving, Names, err.Error()}
	}
	if !slices.ContainsFunc(trusted, func(ca *x509.Certificate) bool { return signedBy(current, ca) }) {
		return nil, &Made{Serving, Issuer, "it is from no CA in " + CABundleKey}
	}
	return p.inTime(now, current, authority)
}

// inTime is current, unless its time or its CA's is over.
func (p Policy) inTime(now time.Time, current, authority *x509.Certificate) (*x509.Certificate, *Made) {
	settled := p.settled(authority)
	reason := dated(now, current)
	switch {
	case reason == Expiring && now.Before(settled) && settled.Before(current.NotAfter):
		return current, nil // soon, by a CA that everybody trusts
	case reason != "":
		return nil, &Made{Serving, reason, span(current)}
	case !signedBy(current, authority) && !now.Before(settled):
		return nil, &Made{Serving, Issuer, "there is a newer CA"}
	}
	return current, nil
}

// settled is from when on a CA signs.
func (p Policy) settled(ca *x509.Certificate) time.Time { return issued(ca).Add(p.Settle) }

// Bundle is what the caBundle of a webhook configuration should be: what the
// Secret says is to be trusted, and those of our earlier CAs that are in the
// caBundle already and still valid, since a replica may serve a certificate from
// one that the Secret has lost. Certificates of others are left out: whoever has
// their keys could answer for the webhook.
func (p Policy) Bundle(now time.Time, secret, present []byte) ([]byte, error) {
	wanted, _ := p.authorities(now, secret)
	before, _ := p.authorities(now, present)
	for _, ca := range newest(before, maxAuthorities) {
		if len(wanted) < maxAuthorities && !slices.ContainsFunc(wanted, ca.Equal) {
			wanted = append(wanted, ca)
		}
	}
	return encode(wanted)
}

// authorities are the CAs in PEM that are ours and not expired, in their order. An
// error says why there may be fewer than there were meant to be.
func (p Policy) authorities(now time.Time, text []byte) ([]*x509.Certificate, error) {
	all, err := pki.DecodeX509CertificateSetBytes(text)
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(c *x509.Certificate) bool { return !p.isOurs(c) || !now.Before(c.NotAfter) }), nil
}

// isOurs says whether a CA can sign for the host and for nothing else, which is
// what ours are like.
func (p Policy) isOurs(c *x509.Certificate) bool {
	return c.IsCA && c.PermittedDNSDomainsCritical && slices.Equal(c.PermittedDNSDomains, []string{p.Host})
}

// newest are up to limit of the authorities, the last made first.
func newest(authorities []*x509.Certificate, limit int) []*x509.Certificate {
	sorted := slices.SortedStableFunc(slices.Values(authorities), func(a, b *x509.Certificate) int { return b.NotBefore.Compare(a.NotBefore) })
	return sorted[:min(len(sorted), limit)]
}

func encode(certificates []*x509.Certificate) ([]byte, error) {
	var text []byte
	for _, c := range certificates {
		block, err := pki.EncodeX509(c)
		if err != nil {
			return nil, fmt.Errorf("encoding the CA %s: %w", c.Subject, err)
		}
		text = append(text, block...)
	}
	return text, nil
}

func belongs(key crypto.Signer, c *x509.Certificate) bool {
	same, err := pki.PublicKeyMatchesCertificate(key.Public(), c)
	return err == nil && same
}

// signedBy looks at the signature: two CAs of ours have the same subject.
func signedBy(c, ca *x509.Certificate) bool { return c.CheckSignatureFrom(ca) == nil }
