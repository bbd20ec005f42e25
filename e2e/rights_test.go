package e2e

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	authorizationv1 "k8s.io/api/authorization/v1"

	"github.com/pillion-mesh/pillion/e2e/release"
)

// TestRights asks kube-apiserver's authorizer about each identity of the release, for
// every verb on everything that would be of use to somebody who got hold of it. What
// is not in the list is denied.
func TestRights(t *testing.T) {
	c := apiServer(t)
	ensureNamespace(t, c, ownNamespace)
	rendered := mustRender(t, "")
	if err := rendered.Install(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { uninstall(t, c, rendered) })
	for _, test := range []struct {
		component string
		want      []string
	}{
		{"webhook", nil},
		{"controller", []string{
			"create events (core) in own namespace",
			"create events (events.k8s.io) in own namespace",
			"create leases (coordination.k8s.io) in own namespace",
			"create secrets (core) in own namespace",
			"get leases (coordination.k8s.io) in own namespace, pillion-controller",
			"get mutatingwebhookconfigurations (admissionregistration.k8s.io), pillion",
			"get secrets (core) in own namespace, pillion-webhook-tls",
			"get validatingwebhookconfigurations (admissionregistration.k8s.io), pillion",
			"list mutatingwebhookconfigurations (admissionregistration.k8s.io), pillion",
			"list secrets (core) in own namespace, pillion-webhook-tls",
			"list validatingwebhookconfigurations (admissionregistration.k8s.io), pillion",
			"patch events (core) in own namespace",
			"patch events (events.k8s.io) in own namespace",
			"patch mutatingwebhookconfigurations (admissionregistration.k8s.io), pillion",
			"patch validatingwebhookconfigurations (admissionregistration.k8s.io), pillion",
			"update leases (coordination.k8s.io) in own namespace, pillion-controller",
			"update secrets (core) in own namespace, pillion-webhook-tls",
			"watch mutatingwebhookconfigurations (admissionregistration.k8s.io), pillion",
			"watch secrets (core) in own namespace, pillion-webhook-tls",
			"watch validatingwebhookconfigurations (admissionregistration.k8s.io), pillion",
		}},
	} {
		t.Run(test.component, func(t *testing.T) {
			user := "system:serviceaccount:" + ownNamespace + ":" + rendered.Of(test.component, "ServiceAccount").GetName()
			var got []string
			for _, attributes := range interesting(rendered) {
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
			// What is allowed whatever the name is allowed for each.
			got = slices.DeleteFunc(got, func(right string) bool {
				nameless, name, named := strings.Cut(right, ", ")
				return named && name != "" && slices.Contains(got, nameless)
			})
			slices.Sort(got)
			if diff := cmp.Diff(test.want, slices.Compact(got)); diff != "" {
				t.Errorf("%s may (-want +got):\n%s", user, diff)
			}
		})
	}
}

// interesting is every verb on everything of interest, in the release's namespace, in
// another one and in none, on the objects of the release, on others and on no name.
func interesting(r *release.Release) []authorizationv1.ResourceAttributes {
	resources := []struct{ group, resource string }{
		{"", "secrets"}, {"", "configmaps"}, {"", "pods"}, {"", "pods/exec"}, {"", "pods/eviction"}, {"", "pods/ephemeralcontainers"},
		{"", "serviceaccounts"}, {"", "serviceaccounts/token"}, {"", "namespaces"}, {"", "nodes"}, {"", "nodes/proxy"}, {"", "services"}, {"", "events"},
		{"events.k8s.io", "events"}, {"apps", "deployments"}, {"apps", "daemonsets"}, {"batch", "jobs"}, {"coordination.k8s.io", "leases"},
		{"admissionregistration.k8s.io", "mutatingwebhookconfigurations"}, {"admissionregistration.k8s.io", "validatingwebhookconfigurations"},
		{"admissionregistration.k8s.io", "validatingadmissionpolicies"}, {"apiextensions.k8s.io", "customresourcedefinitions"},
		{"rbac.authorization.k8s.io", "roles"}, {"rbac.authorization.k8s.io", "rolebindings"}, {"rbac.authorization.k8s.io", "clusterroles"}, {"rbac.authorization.k8s.io", "clusterrolebindings"},
		{"certificates.k8s.io", "certificatesigningrequests"}, {"certificates.k8s.io", "certificatesigningrequests/approval"}, {"cert-manager.io", "certificates"},
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
