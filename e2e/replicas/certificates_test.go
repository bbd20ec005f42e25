package replicas

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/controller"
	"github.com/pillion-mesh/pillion/controller/certificates"
	"github.com/pillion-mesh/pillion/e2e/admissions"
	"github.com/pillion-mesh/pillion/e2e/release"
)

// startController runs pillion-controller as the chart's Deployment does, with the
// rights of its ServiceAccount, and these arguments beside.
func (s *system) startController(t *testing.T, arguments ...string) *release.Controller {
	t.Helper()
	c, err := s.release.StartController(t.Context(), world.controller, s.kubeconfig(t), t.Output(), arguments...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Stop() }) // one that was killed has ended badly
	return c
}

// kubeconfig is the controller's.
func (s *system) kubeconfig(t *testing.T) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := s.release.WriteKubeconfig(t.Context(), world.plane.Config, file); err != nil {
		t.Fatal(err)
	}
	return file
}

// TestNothingIsThere: a release without a certificate gets one, and its pods are
// injected.
func TestNothingIsThere(t *testing.T) {
	s := newSystem(t, nil)
	s.addReplica(t, 200*time.Millisecond)
	s.startController(t)
	s.waitReady(t, 1)
	s.waitCalled(t)
	secret := s.secret(t)
	for _, bundle := range s.bundles(t) {
		if bundle != string(secret.Data[certificates.CABundleKey]) {
			t.Errorf("a caBundle is\n%s\nand the CA\n%s", bundle, secret.Data[certificates.CABundleKey])
		}
	}
}

// TestRotationUnderLoad: "a certificate of two minutes' life under load; CA rotation
// under load with replicas that see it at different times". Here it is seconds'; no
// pod is missed or refused.
func TestRotationUnderLoad(t *testing.T) {
	s := newSystem(t, nil)
	for n := range 3 {
		s.addReplica(t, 200*time.Millisecond+time.Duration(n)*900*time.Millisecond)
	}
	c := s.startController(t, "--certificate-lifetime=20s", "--ca-lifetime=40s", "--settle=1s")
	s.waitReady(t, 3)
	s.waitCalled(t)
	l := &admissions.Load{Client: s.client, Namespaces: []string{s.ignore, s.strict}, PerSecond: 20}
	stop := l.Start(t)
	// CAs are made every 27 s, and until one is gone it takes 40.
	sleep(t.Context(), 45*time.Second)
	l.Await(t, 500)
	stop()
	l.Check(t, 500)
	issued := func(kind, reason string) float64 {
		return metric(t, c.StatusURL, fmt.Sprintf("pillion_controller_certificates_issued_total{certificate=%q,reason=%q}", kind, reason))
	}
	if n := issued("ca", "expiring"); n < 1 {
		t.Errorf("%v CAs were replaced", n)
	}
	if n := issued("serving", "expiring") + issued("serving", "issuer"); n < 2 {
		t.Errorf("%v serving certificates were replaced", n)
	}
	if n := strings.Count(string(s.secret(t).Data[certificates.CABundleKey]), "BEGIN"); n > 2 {
		t.Errorf("%d CAs are trusted; the expired ones should be gone", n)
	}
}

// TestSecretIsDamaged: whatever happens to the Secret is mended, and no pod is missed
// meanwhile.
func TestSecretIsDamaged(t *testing.T) {
	s := newSystem(t, nil)
	s.addReplica(t, 200*time.Millisecond)
	s.addReplica(t, 1500*time.Millisecond)
	c := s.startController(t)
	s.waitReady(t, 2)
	s.waitCalled(t)
	l := &admissions.Load{Client: s.client, Namespaces: []string{s.ignore, s.strict}, PerSecond: 20}
	stop := l.Start(t)
	damages := []struct {
		name   string
		damage func(data map[string][]byte)
		series string
	}{
		{"garbage certificate", func(d map[string][]byte) { d["tls.crt"] = []byte("garbage") }, `{certificate="serving",reason="garbage"}`},
		{"no key", func(d map[string][]byte) { delete(d, "tls.key") }, `{certificate="serving",reason="missing"}`},
		{"garbage CA", func(d map[string][]byte) { d["ca.crt"] = []byte("garbage") }, `{certificate="ca",reason="garbage"}`},
		{"the CA's key lost", func(d map[string][]byte) { delete(d, "ca.key") }, `{certificate="ca",reason="missing"}`},
		{"nothing left", func(d map[string][]byte) { clear(d) }, `{certificate="serving",reason="missing"}`},
	}
	for _, d := range damages {
		series := "pillion_controller_certificates_issued_total" + d.series
		before := metric(t, c.StatusURL, series)
		secret := s.secret(t)
		d.damage(secret.Data)
		if err := s.client.Update(t.Context(), secret); err != nil {
			t.Fatal(err)
		}
		eventually(t, d.name+" is mended", func() bool { return metric(t, c.StatusURL, series) == before+1 })
		sleep(t.Context(), 2*time.Second)
	}
	t.Run("deleted", func(t *testing.T) {
		if err := s.client.Delete(t.Context(), s.secret(t)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the Secret is back", func() bool { return len(s.secret(t).Data["tls.crt"]) > 0 })
	})
	sleep(t.Context(), 3*time.Second) // until both replicas have it
	l.Await(t, 200)
	stop()
	l.Check(t, 200)
	t.Run("it is said", func(t *testing.T) {
		var said corev1.EventList
		if err := s.client.List(t.Context(), &said, client.InNamespace(ownNamespace)); err != nil {
			t.Fatal(err)
		}
		for _, event := range said.Items {
			if event.Type == corev1.EventTypeWarning && strings.Contains(event.Message, "tls.crt: ") {
				return
			}
		}
		t.Errorf("no Event says that tls.crt was garbage: %v", said.Items)
	})
}

// TestCABundleIsRestored: "caBundle blanked or edited by another hand is restored".
func TestCABundleIsRestored(t *testing.T) {
	s := newSystem(t, nil)
	s.addReplica(t, 200*time.Millisecond)
	s.startController(t)
	s.waitReady(t, 1)
	s.waitCalled(t)
	want := s.bundles(t)
	for name, bundle := range map[string][]byte{"blanked": nil, "a newline, as some tools do": []byte("\n"), "another CA": world.plane.Config.CAData} {
		t.Run(name, func(t *testing.T) {
			s.writeBundle(t, bundle)
			eventually(t, "it is restored", func() bool { return strings.Join(s.bundles(t), "") == strings.Join(want, "") })
		})
	}
}

// TestNoFight: "without fighting a GitOps tool". A tool that sets its own caBundle
// whenever it sees another is answered some times, and then rarely; who it is is
// said.
func TestNoFight(t *testing.T) {
	s := newSystem(t, nil)
	c := s.startController(t)
	eventually(t, "the caBundle is written", func() bool { return s.bundles(t)[0] != "" })
	contested := func() bool {
		return metric(t, c.StatusURL, `pillion_controller_ca_bundle_contested{kind="MutatingWebhookConfiguration"}`) == 1
	}
	fight := func(until func() bool) {
		eventually(t, "the tool has fought", func() bool {
			if s.bundles(t)[0] != string(world.plane.Config.CAData) {
				s.writeBundle(t, world.plane.Config.CAData)
			}
			return until()
		})
	}
	began := time.Now()
	fight(contested)
	said := time.Now()
	fight(func() bool { return time.Since(said) > 3*time.Second })
	// The first ones at once, and one more every half a minute.
	most := 5 + float64(int(time.Since(began)/(30*time.Second)))
	if n := metric(t, c.StatusURL, `pillion_controller_ca_bundle_writes_total{kind="MutatingWebhookConfiguration"}`); n < 3 || n > most+1 {
		t.Errorf("it was written %v times, want the first ones and no more", n)
	}
	eventually(t, "an Event names the tool", func() bool {
		var said corev1.EventList
		if err := s.client.List(t.Context(), &said, client.InNamespace(ownNamespace)); err != nil {
			t.Fatal(err)
		}
		for _, event := range said.Items {
			if event.Reason == "CABundleContested" && strings.Contains(event.Message, `"gitops"`) {
				return true
			}
		}
		return false
	})
}

// writeBundle writes all caBundles as a GitOps tool would.
func (s *system) writeBundle(t *testing.T, bundle []byte) {
	t.Helper()
	var configuration admissionv1.MutatingWebhookConfiguration
	if err := s.client.Get(t.Context(), client.ObjectKeyFromObject(s.release.Object("MutatingWebhookConfiguration")), &configuration); err != nil {
		t.Fatal(err)
	}
	before := configuration.DeepCopy()
	for n := range configuration.Webhooks {
		configuration.Webhooks[n].ClientConfig.CABundle = bundle
	}
	if err := s.client.Patch(t.Context(), &configuration, client.StrategicMergeFrom(before), client.FieldOwner("gitops")); err != nil {
		t.Fatal(err)
	}
}

// TestFiveControllersAtOnce: "five controllers starting at once converge on one CA",
// even where each takes itself for the leader.
func TestFiveControllersAtOnce(t *testing.T) {
	s := newSystem(t, nil)
	rounds := 5
	if soak(t) {
		rounds = 50
	}
	for round := range rounds {
		t.Run(strconv.Itoa(round), func(t *testing.T) {
			s.writeBundle(t, nil)
			if secret := s.secret(t); secret.Name != "" {
				if err := s.client.Delete(t.Context(), secret); err != nil {
					t.Fatal(err)
				}
			}
			if round%2 == 1 { // as the chart leaves it: there, and empty
				empty := &corev1.Secret{}
				empty.Namespace, empty.Name = ownNamespace, s.secretName()
				if err := s.client.Create(t.Context(), empty); err != nil {
					t.Fatal(err)
				}
			}
			var leaders []*controller.Controller
			for n := range 5 {
				c, err := controller.New(world.plane.Config, s.options(fmt.Sprintf("lease-%d-%d", round, n)))
				if err != nil {
					t.Fatal(err)
				}
				leaders = append(leaders, c)
			}
			var running sync.WaitGroup
			ctx, stop := context.WithCancel(t.Context())
			defer running.Wait()
			defer stop()
			for _, c := range leaders {
				running.Go(func() { _ = c.Run(ctx) }) // a Lease that is given back late is said as an error
			}
			for _, c := range leaders {
				eventually(t, "all lead", func() bool {
					return metric(t, "http://"+c.StatusAddress().String(), "pillion_controller_leader") == 1
				})
			}
			converged := func() bool {
				ca, bundles := string(s.secret(t).Data[certificates.CABundleKey]), s.bundles(t)
				return strings.Count(ca, "BEGIN") == 1 && bundles[0] == ca && bundles[1] == ca
			}
			eventually(t, "there is one CA, and it is in the caBundles", converged)
			sleep(t.Context(), 500*time.Millisecond)
			if !converged() {
				t.Errorf("it did not stay so: the Secret has\n%s\nand the caBundles %q", s.secret(t).Data[certificates.CABundleKey], s.bundles(t))
			}
		})
	}
}

// options are those of a controller in the test's own process.
func (s *system) options(lease string) controller.Options {
	return controller.Options{
		Namespace: ownNamespace, Secret: s.secretName(), Service: s.release.Object("Service").GetName(),
		WebhookConfiguration: s.release.Object("MutatingWebhookConfiguration").GetName(), Lease: lease,
		Policy:        certificates.Policy{CALifetime: 24 * time.Hour, ServingLifetime: time.Hour, Settle: time.Minute},
		StatusAddress: "localhost:0", Log: slog.New(slog.DiscardHandler),
	}
}

// TestClockJumps: "renews after a clock jump". A timer would have slept through it.
func TestClockJumps(t *testing.T) {
	s := newSystem(t, nil)
	var ahead atomic.Int64
	options := s.options("clock")
	options.Now = func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
	c, err := controller.New(world.plane.Config, options)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var running sync.WaitGroup
	defer running.Wait()
	defer stop()
	running.Go(func() { _ = c.Run(ctx) })
	eventually(t, "there is a certificate", func() bool { return len(s.secret(t).Data["tls.crt"]) > 0 })
	before := s.secret(t).Data["tls.crt"]
	ahead.Store(int64(45 * time.Minute)) // its life is an hour
	err = wait.PollUntilContextTimeout(ctx, time.Second, 2*patience, true, func(context.Context) (bool, error) {
		return !bytes.Equal(before, s.secret(t).Data["tls.crt"]), nil
	})
	if err != nil {
		t.Errorf("the certificate was not renewed: %v", err)
	}
}

// TestLeaderDies: another controller takes over.
func TestLeaderDies(t *testing.T) {
	s := newSystem(t, nil)
	first := s.startController(t)
	eventually(t, "the caBundle is written", func() bool { return s.bundles(t)[0] != "" })
	second := s.startController(t)
	if metric(t, first.StatusURL, "pillion_controller_leader") != 1 || metric(t, second.StatusURL, "pillion_controller_leader") != 0 {
		t.Error("the second leads as well")
	}
	if err := first.Kill(); err == nil {
		t.Fatal("it had ended before")
	}
	s.writeBundle(t, nil)
	eventually(t, "the caBundle is restored", func() bool { return s.bundles(t)[0] != "" })
	if metric(t, second.StatusURL, "pillion_controller_leader") != 1 {
		t.Error("the second does not say that it leads")
	}
}

// metric is the value of one series; 0 where there is none.
func metric(t *testing.T, statusURL, series string) float64 {
	t.Helper()
	text, err := release.Get(t.Context(), statusURL+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, series+" "); ok {
			value, err := strconv.ParseFloat(strings.TrimSpace(rest), 64)
			if err != nil {
				t.Fatal(err)
			}
			return value
		}
	}
	return 0
}
