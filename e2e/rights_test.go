package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/e2e/release"
)

// TestRights asks kube-apiserver's authorizer about each identity of the release, for
// every verb on everything that would be of use to somebody who got hold of it. What
// is not in the list is denied.
func TestRights(t *testing.T) {
	// What holds whatever the values.
	always := []string{
		"create events (core) in own namespace",
		"create leases (coordination.k8s.io) in own namespace",
		"get leases (coordination.k8s.io) in own namespace, pillion-controller",
		"patch events (core) in own namespace",
		"update leases (coordination.k8s.io) in own namespace, pillion-controller",
	}
	certificates := []string{
		"create secrets (core) in own namespace",
		"get mutatingwebhookconfigurations (admissionregistration.k8s.io), pillion",
		"get secrets (core) in own namespace, pillion-webhook-tls",
		"get validatingwebhookconfigurations (admissionregistration.k8s.io), pillion",
		"list mutatingwebhookconfigurations (admissionregistration.k8s.io), pillion",
		"list secrets (core) in own namespace, pillion-webhook-tls",
		"list validatingwebhookconfigurations (admissionregistration.k8s.io), pillion",
		"patch mutatingwebhookconfigurations (admissionregistration.k8s.io), pillion",
		"patch validatingwebhookconfigurations (admissionregistration.k8s.io), pillion",
		"update secrets (core) in own namespace, pillion-webhook-tls",
		"watch mutatingwebhookconfigurations (admissionregistration.k8s.io), pillion",
		"watch secrets (core) in own namespace, pillion-webhook-tls",
		"watch validatingwebhookconfigurations (admissionregistration.k8s.io), pillion",
	}
	// Where it tells of pods, these hold everywhere.
	ownEvents := []string{
		"create events (events.k8s.io) in own namespace",
		"patch events (events.k8s.io) in own namespace",
	}
	audits := []string{
		"create events (events.k8s.io)",
		"patch events (events.k8s.io)",
		"get jobs (batch)",
		"get replicasets (apps)",
		"list namespaces (core)",
		"list pods (core)",
	}
	evictions := []string{
		"create pods/eviction (core)",
		"list endpointslices (discovery.k8s.io) in own namespace",
	}
	// Which ConfigMaps, a policy of the chart says: TestNoOtherConfigMap in e2e/delivery.
	meshServices := []string{
		"create configmaps (core)", "delete configmaps (core)", "get configmaps (core)", "list configmaps (core)", "update configmaps (core)", "watch configmaps (core)",
		"list namespaces (core)", "watch namespaces (core)", "list pods (core)", "watch pods (core)",
		"list meshservices (pillion.dev)", "watch meshservices (pillion.dev)", "patch meshservices/status (pillion.dev)",
		"create events (events.k8s.io)", "patch events (events.k8s.io)",
	}
	for _, test := range []struct {
		name, component, values string
		want                    []string
	}{
		{"webhook", "webhook", "", nil},
		{"controller", "controller", "", slices.Concat(always, certificates, audits, meshServices)},
		{"controller without audits", "controller", "controller: {auditor: {enabled: false}}", slices.Concat(always, certificates, meshServices)},
		{"controller for certificates only", "controller", "controller: {auditor: {enabled: false}, meshServices: {enabled: false}}", slices.Concat(always, certificates, ownEvents)},
		{"controller that evicts", "controller", "controller: {auditor: {evict: {enabled: true}}}", slices.Concat(always, certificates, audits, evictions, meshServices)},
		{"controller that only audits", "controller", "{tls: {source: provided}, controller: {meshServices: {enabled: false}}}", slices.Concat(always, audits)},
		{"controller for MeshServices only", "controller", "{tls: {source: provided}, controller: {auditor: {enabled: false}}}", slices.Concat(always, meshServices)},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := apiServer(t)
			ensureNamespace(t, c, ownNamespace)
			rendered := mustRender(t, test.values)
			if err := rendered.Install(t.Context(), c); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { uninstall(t, c, rendered) })
			user := "system:serviceaccount:" + ownNamespace + ":" + rendered.Of(test.component, "ServiceAccount").GetName()
			// kube-apiserver's authorizer notices a role a moment after it is there.
			slices.Sort(test.want)
			test.want = slices.Compact(test.want)
			var got []string
			defer func() {
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("%s may (-want +got):\n%s", user, diff)
				}
			}()
			eventually(t, "the rights are those of the values", func() bool {
				got = rightsOf(t, c, rendered, user)
				return slices.Equal(got, test.want)
			})
		})
	}
}

// rightsOf are what kube-apiserver lets a user do of what is interesting.
func rightsOf(t *testing.T, c client.Client, r *release.Release, user string) []string {
	t.Helper()
	var got []string
	for _, attributes := range interesting(r) {
		review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
			User: user, Groups: []string{"system:serviceaccounts", "system:serviceaccounts:" + ownNamespace, "system:authenticated"},
			ResourceAttributes: &attributes,
		}}
		if err := c.Create(t.Context(), review); err != nil {
			t.Fatal(err)
		}
		if review.Status.Allowed {
			got = append(got, described(&attributes))
		}
	}
	// What is allowed whatever the name is allowed for each, and what is allowed in
	// every namespace in each.
	got = slices.DeleteFunc(got, func(right string) bool {
		nameless, name, named := strings.Cut(right, ", ")
		everywhere, _, placed := strings.Cut(nameless, " in ")
		return named && name != "" && slices.Contains(got, nameless) || placed && slices.Contains(got, everywhere)
	})
	slices.Sort(got)
	return slices.Compact(got)
}

// interesting is every verb on everything of interest, in the release's namespace, in
// another one and in none, on the objects of the release, on others and on no name.
func interesting(r *release.Release) []authorizationv1.ResourceAttributes {
	resources := []struct{ group, resource string }{
		{"", "secrets"}, {"", "configmaps"}, {"", "pods"}, {"", "pods/exec"}, {"", "pods/eviction"}, {"", "pods/ephemeralcontainers"},
		{"", "serviceaccounts"}, {"", "serviceaccounts/token"}, {"", "namespaces"}, {"", "nodes"}, {"", "nodes/proxy"}, {"", "services"}, {"", "events"},
		{"events.k8s.io", "events"}, {"discovery.k8s.io", "endpointslices"}, {"apps", "deployments"}, {"apps", "replicasets"}, {"apps", "daemonsets"}, {"batch", "jobs"}, {"coordination.k8s.io", "leases"},
		{"admissionregistration.k8s.io", "mutatingwebhookconfigurations"}, {"admissionregistration.k8s.io", "validatingwebhookconfigurations"},
		{"admissionregistration.k8s.io", "validatingadmissionpolicies"}, {"apiextensions.k8s.io", "customresourcedefinitions"},
		{"rbac.authorization.k8s.io", "roles"}, {"rbac.authorization.k8s.io", "rolebindings"}, {"rbac.authorization.k8s.io", "clusterroles"}, {"rbac.authorization.k8s.io", "clusterrolebindings"},
		{"certificates.k8s.io", "certificatesigningrequests"}, {"certificates.k8s.io", "certificatesigningrequests/approval"}, {"cert-manager.io", "certificates"},
		{"pillion.dev", "meshservices"}, {"pillion.dev", "meshservices/status"}, {"pillion.dev", "meshservices/finalizers"},
	}
	verbs := []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"}
	more := map[string][]string{
		"rbac.authorization.k8s.io": {"escalate", "bind"}, "certificates.k8s.io": {"approve", "sign"}, "": {"impersonate"},
	}
	names := []string{"", "another"}
	for _, object := range r.Objects {
		names = append(names, object.GetName())
	}
	slices.Sort(names)
	var all []authorizationv1.ResourceAttributes
	for _, of := range resources {
		resource, subresource, _ := strings.Cut(of.resource, "/")
		for _, namespace := range []string{r.Namespace, "default", ""} {
			for _, name := range slices.Compact(names) {
				for _, verb := range slices.Concat(verbs, more[of.group]) {
					all = append(all, authorizationv1.ResourceAttributes{
						Namespace: namespace, Verb: verb, Group: of.group, Resource: resource, Subresource: subresource, Name: name,
					})
				}
			}
		}
	}
	return all
}

func described(a *authorizationv1.ResourceAttributes) string {
	group := a.Group
	if group == "" {
		group = "core"
	}
	text := fmt.Sprintf("%s %s (%s)", a.Verb, strings.TrimSuffix(a.Resource+"/"+a.Subresource, "/"), group)
	// Of what has no namespace, the namespace does not matter.
	if a.Namespace != "" && a.Group != "admissionregistration.k8s.io" {
		place := "namespace " + a.Namespace
		if a.Namespace == ownNamespace {
			place = "own namespace"
		}
		text += " in " + place
	}
	if a.Name != "" {
		text += ", " + a.Name
	}
	return text
}
