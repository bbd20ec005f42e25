package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/preflight"
)

// checked is what `pillionctl check -o json` says of a check.
type checked struct {
	ID, Result string
	Findings   []struct{ Level, Subject, Message, Hint string }
}

// checks are what was found last, by id.
type checks map[string]checked

// check runs the program once.
func check(t *testing.T, args ...string) (checks, ctlRun) {
	t.Helper()
	run := ctl(t, append([]string{"check", "-o", "json"}, args...)...)
	var list []checked
	run.into(t, &list)
	all := checks{}
	for _, c := range list {
		all[c.ID] = c
	}
	return all, run
}

// not are the ids of what has this result, in order.
func (c checks) with(result preflight.Level) []string {
	var ids []string
	for id := range c {
		if c[id].Result == string(result) {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// eventuallyFinds checks until exactly these are the problems: kube-apiserver takes a
// moment to notice what changed.
func eventuallyFinds(t *testing.T, args []string, want ...string) checks {
	t.Helper()
	slices.Sort(want)
	var all checks
	var run ctlRun
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, 15*time.Second, true, func(context.Context) (bool, error) {
		all, run = check(t, args...)
		return slices.Equal(all.with(preflight.Problem), want), nil
	})
	if err != nil {
		t.Fatalf("the problems are %q, want %q:\n%s", all.with(preflight.Problem), want, ctl(t, append([]string{"check"}, args...)...).stdout)
	}
	if wantStatus := min(len(want), 1); run.status != wantStatus {
		t.Errorf("it ended with %d, want %d: %s", run.status, wantStatus, run.stderr)
	}
	return all
}

// complete writes what the controllers, which are not here, would write about a release
// that works: its Deployments are available, its Service has an endpoint, and the
// Secret holds the certificate that is served.
func (i *installation) complete(t *testing.T, c client.Client) {
	t.Helper()
	var deployments appsv1.DeploymentList
	if err := c.List(t.Context(), &deployments, client.InNamespace(ownNamespace)); err != nil {
		t.Fatal(err)
	}
	for n := range deployments.Items {
		setAvailable(t, c, &deployments.Items[n], *deployments.Items[n].Spec.Replicas)
	}
	name := i.release.Object("Service").GetName()
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: ownNamespace, Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: name}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Endpoints:   []discoveryv1.Endpoint{{Addresses: []string{"192.0.2.1"}, Conditions: discoveryv1.EndpointConditions{Ready: new(true)}}},
	}
	if err := c.Create(t.Context(), slice); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { deleteObject(t, c, slice) })
	i.setCertificate(t, c, i.webhook.CA)
}

func setAvailable(t *testing.T, c client.Client, d *appsv1.Deployment, replicas int32) {
	t.Helper()
	before := d.DeepCopy()
	d.Status.Replicas, d.Status.ReadyReplicas, d.Status.AvailableReplicas = replicas, replicas, replicas
	if err := c.Status().Patch(t.Context(), d, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

// setCertificate puts a certificate into the release's Secret.
func (i *installation) setCertificate(t *testing.T, c client.Client, certificate []byte) {
	t.Helper()
	secret := &corev1.Secret{}
	if err := c.Get(t.Context(), client.ObjectKey{Namespace: ownNamespace, Name: i.release.Object("Service").GetName() + "-tls"}, secret); err != nil {
		t.Fatal(err)
	}
	before := secret.DeepCopy()
	secret.Data = map[string][]byte{corev1.TLSCertKey: certificate}
	if err := c.Patch(t.Context(), secret, client.MergeFrom(before)); err != nil {
		t.Fatal(err)
	}
}

func deleteObject(t *testing.T, c client.Client, o client.Object) {
	t.Helper()
	if err := client.IgnoreNotFound(c.Delete(context.WithoutCancel(t.Context()), o)); err != nil {
		t.Error(err)
	}
}

// TestCheck: a release that works is found to work; and each check is seen to find the
// fault that it is there for, made in a real API server, and nothing else.
func TestCheck(t *testing.T) {
	installed := install(t, nil)
	c := apiServer(t)
	// In the order of names they are tried before those that other tests left.
	labelNamespace(t, c, "a-checked", map[string]string{optInLabel: "true"})
	labelNamespace(t, c, "a-checked-strict", map[string]string{optInLabel: "true", strictLabel: "true"})
	installed.complete(t, c)

	all := eventuallyFinds(t, nil)
	if notLooked := all.with(preflight.Unknown); len(notLooked) > 0 {
		t.Errorf("not looked at: %q", notLooked)
	}
	seen := map[string]bool{}
	for _, fault := range installationFaults() {
		ok := t.Run(fault.name, func(t *testing.T) {
			undo := fault.inflict(t, c, installed)
			all := eventuallyFinds(t, nil, fault.finds...)
			for _, id := range fault.finds {
				seen[id] = true
			}
			for _, words := range fault.says {
				if text := fmt.Sprint(all); !strings.Contains(text, words) {
					t.Errorf("it does not say %q: %s", words, text)
				}
			}
			undo()
			eventuallyFinds(t, nil)
		})
		if !ok {
			return // the release may not be well again, so the next ones would fail as well
		}
	}
	for _, check := range preflight.Checks() {
		if !seen[check.ID] && !slices.Contains(foundElsewhere(), check.ID) {
			t.Errorf("no fault shows that %s finds anything", check.ID)
		}
	}
}
