package certificates

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"maps"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/cert-manager/cert-manager/pkg/util/pki"
)

var (
	policy = Policy{Host: "hook.system.svc", CALifetime: 360 * day, ServingLifetime: 30 * day, Settle: time.Minute}
	start  = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
)

const day = 24 * time.Hour

type data = map[string][]byte

// renew is the policy's, whose outcome must always be one that works.
func renew(t *testing.T, p Policy, now time.Time, given data) *Outcome {
	t.Helper()
	before := maps.Clone(given)
	outcome, err := p.Renew(now, given)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(before, given); diff != "" {
		t.Errorf("Renew changed what it was given:\n%s", diff)
	}
	if err := handshake(p, now, outcome.Data, outcome.Data[CABundleKey]); err != nil {
		t.Errorf("at %s the outcome does not work: %v", now, err)
	}
	if !outcome.Next.After(now) {
		t.Errorf("Next is %s, which is not after %s", outcome.Next, now)
	}
	if len(outcome.Made) > 0 && !outcome.Changed(given) {
		t.Errorf("%v were made, and nothing is to be stored", outcome.Made)
	}
	return outcome
}

// handshake is what kube-apiserver does, trusting bundle, with a replica that has
// the Secret.
func handshake(p Policy, now time.Time, secret data, bundle []byte) error {
	certificate, err := tls.X509KeyPair(secret[ServingKey], secret[KeyKey])
	if err != nil {
		return fmt.Errorf("loading the certificate: %w", err)
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(bundle) {
		return fmt.Errorf("no CA in %q", bundle)
	}
	_, err = certificate.Leaf.Verify(x509.VerifyOptions{DNSName: p.Host, Roots: roots, CurrentTime: now})
	return err
}

func reasons(o *Outcome) []string {
	var all []string
	for _, m := range o.Made {
		all = append(all, string(m.Kind)+" "+string(m.Reason))
	}
	return all
}

func expect(t *testing.T, o *Outcome, want ...string) {
	t.Helper()
	if diff := cmp.Diff(want, reasons(o)); diff != "" {
		t.Errorf("made (-want +got):\n%s", diff)
	}
}

func authorityCount(t *testing.T, text []byte) int {
	t.Helper()
	all, err := pki.DecodeX509CertificateSetBytes(text)
	if err != nil {
		t.Fatal(err)
	}
	return len(all)
}

func TestFirst(t *testing.T) {
	o := renew(t, policy, start, nil)
	expect(t, o, "ca missing", "serving missing")
	if want := start.Add(20 * day); !o.Next.Equal(want) {
		t.Errorf("next is %s, want %s: two thirds of the serving certificate's life", o.Next, want)
	}
	again := renew(t, policy, start.Add(day), o.Data)
	expect(t, again)
	if again.Changed(o.Data) {
		t.Error("looking again changed it")
	}
}

// TestKubeAPIServersClock: one that is some minutes behind takes the certificate.
func TestKubeAPIServersClock(t *testing.T) {
	o := renew(t, policy, start, nil)
	if err := handshake(policy, start.Add(-4*time.Minute), o.Data, o.Data[CABundleKey]); err != nil {
		t.Error(err)
	}
}

// TestCAIsGoodForOneHost: whoever gets hold of the key cannot pretend to be
// another webhook or server.
func TestCAIsGoodForOneHost(t *testing.T) {
	o := renew(t, policy, start, nil)
	key, err := pki.DecodePrivateKeyBytes(o.Data[CAKeyKey])
	if err != nil {
		t.Fatal(err)
	}
	ca, err := pki.DecodeX509CertificateBytes(o.Data[CABundleKey])
	if err != nil {
		t.Fatal(err)
	}
	other := policy
	other.Host = "kubernetes.default.svc"
	forged, err := other.newServing(start, &pair{ca, key})
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AddCert(ca)
	if _, err := forged.certificate.Verify(x509.VerifyOptions{DNSName: other.Host, Roots: roots, CurrentTime: start}); err == nil {
		t.Error("the CA of one webhook can sign for another host")
	}
}

func TestServingIsRenewedAtTwoThirds(t *testing.T) {
	first := renew(t, policy, start, nil)
	at := start.Add(20 * day)
	expect(t, renew(t, policy, at.Add(-time.Second), first.Data))
	second := renew(t, policy, at, first.Data)
	expect(t, second, "serving expiring")
	if err := handshake(policy, at, first.Data, second.Data[CABundleKey]); err != nil {
		t.Errorf("a replica that has not read the new certificate yet: %v", err)
	}
}

// TestRotation goes through a CA's replacement, with replicas and kube-apiservers
// that each are at any of the states so far: every one of their connections works.
func TestRotation(t *testing.T) {
	states := []data{renew(t, policy, start, nil).Data}
	bundles := [][]byte{states[0][CABundleKey]}
	rotates := start.Add(240 * day)
	// Serving certificates are renewed as they come due on the way.
	for at := start; at.Before(rotates); at = at.Add(10 * day) {
		states[0] = renew(t, policy, at, states[0]).Data
	}
	step := func(at time.Time, want ...string) *Outcome {
		o := renew(t, policy, at, states[len(states)-1])
		expect(t, o, want...)
		bundle, err := policy.Bundle(at, o.Data[CABundleKey], bundles[len(bundles)-1])
		if err != nil {
			t.Fatal(err)
		}
		states, bundles = append(states, o.Data), append(bundles, bundle)
		return o
	}

	// What is due with the CA waits for the new one to settle.
	next := step(rotates, "ca expiring").Next
	if want := rotates.Add(policy.Settle); !next.Equal(want) {
		t.Fatalf("next is %s, want %s, when the new CA has settled", next, want)
	}
	if got := authorityCount(t, bundles[1]); got != 2 {
		t.Errorf("%d CAs are trusted, want the old and the new", got)
	}
	// A kube-apiserver that is one caBundle behind, replicas old and new.
	for n, replica := range states {
		if err := handshake(policy, rotates, replica, bundles[0]); err != nil {
			t.Errorf("state %d with the caBundle from before: %v", n, err)
		}
	}
	step(rotates.Add(policy.Settle - time.Second))
	step(rotates.Add(policy.Settle), "serving expiring")
	for n, replica := range states {
		for _, bundle := range bundles[1:] {
			if err := handshake(policy, rotates.Add(policy.Settle), replica, bundle); err != nil {
				t.Errorf("state %d after the rotation: %v", n, err)
			}
		}
	}
	// The old one goes when it has expired, and not before.
	expires := start.Add(policy.CALifetime)
	for at := rotates.Add(5 * day); at.Before(expires); at = at.Add(10 * day) {
		states[len(states)-1] = renew(t, policy, at, states[len(states)-1]).Data
	}
	step(expires.Add(-time.Second))
	if got := authorityCount(t, bundles[len(bundles)-1]); got != 2 {
		t.Errorf("%d CAs are trusted before the old one expires, want 2", got)
	}
	step(expires)
	if got := authorityCount(t, bundles[len(bundles)-1]); got != 1 {
		t.Errorf("%d CAs are trusted after the old one expired, want 1", got)
	}
}

// TestIssuerIsFollowed: a serving certificate that is not due, but from the old CA,
// is replaced once the new one has settled.
func TestIssuerIsFollowed(t *testing.T) {
	p := policy
	p.ServingLifetime = 200 * day // due 133 days after its CA
	first := renew(t, p, start, nil)
	second := renew(t, p, start.Add(134*day), first.Data)
	expect(t, second, "serving expiring")
	third := renew(t, p, start.Add(240*day), second.Data)
	expect(t, third, "ca expiring")
	expect(t, renew(t, p, start.Add(240*day+p.Settle), third.Data), "serving issuer")
}

// TestShortLives: certificates of two minutes, as in the tests under load.
func TestShortLives(t *testing.T) {
	p := Policy{Host: "a.b.svc", CALifetime: 4 * time.Minute, ServingLifetime: 2 * time.Minute, Settle: 5 * time.Second}
	secret, made := data(nil), 0
	for at := start; at.Before(start.Add(time.Hour)); at = at.Add(5 * time.Second) {
		o := renew(t, p, at, secret)
		secret, made = o.Data, made+len(o.Made)
		if left := o.ServingExpiry.Sub(at); left < 30*time.Second {
			t.Fatalf("%s: the serving certificate is valid for %s only", at, left)
		}
	}
	// Every 80 s a serving certificate, every 160 s a CA with one more each.
	if made < 60 || made > 100 {
		t.Errorf("%d certificates in an hour", made)
	}
}

func TestClockJumps(t *testing.T) {
	first := renew(t, policy, start, nil)
	t.Run("forward, beyond everything", func(t *testing.T) {
		expect(t, renew(t, policy, start.Add(1000*day), first.Data), "ca expiring", "serving issuer")
	})
	t.Run("forward and back", func(t *testing.T) {
		ahead := renew(t, policy, start.Add(1000*day), nil)
		expect(t, renew(t, policy, start, ahead.Data), "ca notYetValid", "serving notYetValid")
	})
	t.Run("back by a little", func(t *testing.T) {
		expect(t, renew(t, policy, start.Add(-time.Minute), first.Data))
	})
}

// TestRepair: whatever somebody did to the Secret, the outcome works, and what was
// still good is kept.
func TestRepair(t *testing.T) {
	good := renew(t, policy, start, nil).Data
	other := renew(t, policy, start, nil).Data
	otherHost := policy
	otherHost.Host = "hook.elsewhere.svc"
	foreign := renew(t, otherHost, start, nil).Data
	garbage := []byte("-----BEGIN CERTIFICATE-----\nbm90IG9uZQ==\n-----END CERTIFICATE-----\n")
	both := append(bytes.Clone(other[CABundleKey]), good[CABundleKey]...)

	tests := map[string]struct {
		change data // nil takes a key away
		want   []string
		// trusts says that the good CA is still trusted.
		trusts bool
	}{
		"nothing left":             {data{CABundleKey: nil, CAKeyKey: nil, ServingKey: nil, KeyKey: nil}, []string{"ca missing", "serving missing"}, false},
		"no CA":                    {data{CABundleKey: nil}, []string{"ca missing", "serving issuer"}, false},
		"empty CA":                 {data{CABundleKey: {}}, []string{"ca missing", "serving issuer"}, false},
		"no key of the CA":         {data{CAKeyKey: nil}, []string{"ca missing"}, true},
		"garbage as CA":            {data{CABundleKey: []byte("x")}, []string{"ca garbage", "serving issuer"}, false},
		"garbage in PEM as CA":     {data{CABundleKey: garbage}, []string{"ca garbage", "serving issuer"}, false},
		"garbage as the CA's key":  {data{CAKeyKey: []byte("x")}, []string{"ca garbage"}, true},
		"another CA's key":         {data{CAKeyKey: other[CAKeyKey]}, []string{"ca mismatch"}, true},
		"CA for another host":      {data{CABundleKey: foreign[CABundleKey], CAKeyKey: foreign[CAKeyKey]}, []string{"ca expiring", "serving issuer"}, false},
		"leaf as CA":               {data{CABundleKey: good[ServingKey], CAKeyKey: good[KeyKey]}, []string{"ca expiring", "serving issuer"}, false},
		"CAs in another order":     {data{CABundleKey: both}, nil, true},
		"no certificate":           {data{ServingKey: nil}, []string{"serving missing"}, true},
		"no key":                   {data{KeyKey: nil}, []string{"serving missing"}, true},
		"garbage as certificate":   {data{ServingKey: []byte("x")}, []string{"serving garbage"}, true},
		"garbage as key":           {data{KeyKey: []byte("x")}, []string{"serving garbage"}, true},
		"another certificate":      {data{ServingKey: other[ServingKey]}, []string{"serving mismatch"}, true},
		"another's pair":           {data{ServingKey: other[ServingKey], KeyKey: other[KeyKey]}, []string{"serving issuer"}, true},
		"pair for another host":    {data{ServingKey: foreign[ServingKey], KeyKey: foreign[KeyKey]}, []string{"serving names"}, true},
		"the CA as certificate":    {data{ServingKey: good[CABundleKey], KeyKey: good[CAKeyKey]}, []string{"serving names"}, true},
		"a key that is not ours":   {data{"note": []byte("kept")}, nil, true},
		"everything from another":  {other, nil, false},
		"everything for elsewhere": {foreign, []string{"ca expiring", "serving names"}, false},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			given := maps.Clone(good)
			for key, value := range test.change {
				if value == nil {
					delete(given, key)
				} else {
					given[key] = value
				}
			}
			o := renew(t, policy, start.Add(time.Hour), given)
			expect(t, o, test.want...)
			if got := bytes.Contains(o.Data[CABundleKey], good[CABundleKey]); got != test.trusts {
				t.Errorf("the good CA is trusted: %t, want %t", got, test.trusts)
			}
			if !bytes.Equal(o.Data["note"], given["note"]) {
				t.Error("a key that is not ours was changed")
			}
			expect(t, renew(t, policy, start.Add(time.Hour+time.Second), o.Data))
		})
	}
}

func TestBundle(t *testing.T) {
	first, second := renew(t, policy, start, nil).Data[CABundleKey], renew(t, policy, start.Add(time.Second), nil).Data[CABundleKey]
	otherHost := policy
	otherHost.Host = "hook.elsewhere.svc"
	foreign := renew(t, otherHost, start, nil).Data[CABundleKey]
	join := func(parts ...[]byte) []byte { return bytes.Join(parts, nil) }
	tests := map[string]struct {
		present []byte
		at      time.Time
		want    []byte
	}{
		"blank":                   {nil, start, first},
		"a newline":               {[]byte("\n"), start, first},
		"as it should be":         {first, start, first},
		"another of ours":         {second, start, join(first, second)},
		"both, in another order":  {join(second, first), start, join(first, second)},
		"one expired":             {second, start.Add(policy.CALifetime + time.Second), nil},
		"one of somebody else":    {foreign, start, first},
		"somebody else's as well": {join(first, foreign), start, first},
		"twice":                   {join(first, first), start, first},
		"garbage":                 {[]byte("garbage"), start, first},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got, err := policy.Bundle(test.at, first, test.present)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(test.want, got) {
				t.Errorf("got %d CAs, want %d\n%s", bytes.Count(got, []byte("BEGIN")), bytes.Count(test.want, []byte("BEGIN")), got)
			}
		})
	}
}

// TestBundleIsBounded: somebody who deletes the Secret all day does not fill the
// webhook configuration.
func TestBundleIsBounded(t *testing.T) {
	var bundle []byte
	for n := range 3 * maxAuthorities {
		at := start.Add(time.Duration(n) * time.Minute)
		secret := renew(t, policy, at, nil).Data
		var err error
		if bundle, err = policy.Bundle(at, secret[CABundleKey], bundle); err != nil {
			t.Fatal(err)
		}
		if err := handshake(policy, at, secret, bundle); err != nil {
			t.Fatal(err)
		}
	}
	if got := authorityCount(t, bundle); got != maxAuthorities {
		t.Errorf("%d CAs, want %d", got, maxAuthorities)
	}
}

// FuzzRenew: no bytes in the Secret are an error, and one round mends all.
func FuzzRenew(f *testing.F) {
	o, err := policy.Renew(start, nil)
	if err != nil {
		f.Fatal(err)
	}
	block, _ := pem.Decode(o.Data[CABundleKey])
	f.Add(o.Data[CABundleKey], o.Data[CAKeyKey], o.Data[ServingKey], o.Data[KeyKey])
	f.Add(block.Bytes, o.Data[CAKeyKey], o.Data[ServingKey], []byte("x"))
	f.Fuzz(func(t *testing.T, bundle, caKey, serving, key []byte) {
		given := data{CABundleKey: bundle, CAKeyKey: caKey, ServingKey: serving, KeyKey: key}
		o, err := policy.Renew(start, given)
		if err != nil {
			t.Fatal(err)
		}
		if err := handshake(policy, start, o.Data, o.Data[CABundleKey]); err != nil {
			t.Fatal(err)
		}
		again, err := policy.Renew(start, o.Data)
		if err != nil || again.Changed(o.Data) {
			t.Fatalf("a second round changed it again: %v, %v", again.Made, err)
		}
	})
}
