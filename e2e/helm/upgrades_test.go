package helm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/e2e/release"
)

// TestUpgradeKeepsWhatTheControllerWrote: however Helm updates objects, but for
// replacing them, a changed value reaches the webhook's ConfigMap, and the caBundles and
// the Secret's data stay. Going from one way to another is part of it: Helm 4 goes on in
// the way of the release's last upgrade, and a release of Helm 3 may go on with Helm 4.
func TestUpgradeKeepsWhatTheControllerWrote(t *testing.T) {
	const clientSide, serverSide = "--server-side=false", "--server-side=true"
	helm4, helm3 := world.helms[0], world.helms[1]
	type step struct {
		helm  program
		flags []string
	}
	for _, tc := range []struct {
		name    string
		install program
		steps   []step
	}{
		{"Helm4", helm4, []step{
			{helm4, []string{serverSide, "--force-conflicts"}}, {helm4, []string{clientSide}}, {helm4, []string{serverSide}},
		}},
		{"Helm3 and then Helm4", helm3, []step{{helm: helm3}, {helm: helm4}, {helm4, []string{serverSide, "--force-conflicts"}}}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := apiClient(t)
			r := tc.install.render(t, "pillion", "upgrades-"+strings.ToLower(tc.name[:5]), "")
			in := []string{"pillion", chartFolder, "--namespace", r.Namespace}
			tc.install.run(t, slices.Concat([]string{"install", "--create-namespace"}, in)...)
			defer func() { helm4.run(t, "uninstall", "pillion", "--namespace", r.Namespace) }()
			trustAndStop(t, c, r)
			trust, secret := trusted(t, c, r), data(t, c, r)
			for n, s := range tc.steps {
				image := fmt.Sprintf("registry.example.com/envoy:step-%d", n)
				s.helm.run(t, slices.Concat([]string{"upgrade", "--set", "injector.images.envoy=" + image}, in, s.flags)...)
				if !strings.Contains(injectorConfig(t, c, r), image) {
					t.Errorf("%s upgrade %q: the value is not in the ConfigMap:\n%s", s.helm.name, s.flags, injectorConfig(t, c, r))
				}
				if trusted(t, c, r) != trust || !cmp.Equal(data(t, c, r), secret) {
					t.Errorf("%s upgrade %q changed the caBundles or the Secret", s.helm.name, s.flags)
				}
			}
		})
	}
}

// TestReplacing: an upgrade that replaces objects takes away what others wrote into
// them, the CA among it. The controller, which runs, makes it anew.
func TestReplacing(t *testing.T) {
	c := apiClient(t)
	for n, flags := range [][]string{{"--force-replace", "--server-side=false"}, {"--force"}} {
		p := world.helms[n]
		t.Run(p.name, func(t *testing.T) {
			r := p.render(t, "pillion", "replacing-"+strings.ToLower(p.name), "")
			in := []string{"pillion", chartFolder, "--namespace", r.Namespace}
			p.run(t, slices.Concat([]string{"install", "--create-namespace"}, in)...)
			defer func() { p.run(t, "uninstall", "pillion", "--namespace", r.Namespace) }()
			startController(t, c, r)
			trust := trusted(t, c, r)
			p.run(t, slices.Concat([]string{"upgrade"}, in, flags)...)
			eventually(t, "the controller has made another CA, with its certificate", func() bool {
				now := trusted(t, c, r)
				return now != "" && now != trust && len(data(t, c, r)) == 4
			})
		})
	}
}

// injectorConfig is what the webhook reads.
func injectorConfig(t *testing.T, c client.Client, r *release.Release) string {
	t.Helper()
	var found corev1.ConfigMap
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(r.Object("ConfigMap")), &found); err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, value := range found.Data {
		text.WriteString(value)
	}
	return text.String()
}
