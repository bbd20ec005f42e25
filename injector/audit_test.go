package injector_test

import (
	"strings"
	"testing"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
)

func TestAudit(t *testing.T) {
	t.Parallel()
	config := v1alpha1.DefaultConfig()
	i, err := injector.New(config)
	if err != nil {
		t.Fatal(err)
	}
	status := func(version, config string) string {
		return `,"annotations":{"pillion.dev/status":"{\"version\":\"` + version + `\",\"config\":\"` + config + `\",\"plan\":\"p\"}"}`
	}
	ours := `],"initContainers":[{"name":"` + injector.InitContainerName + `"},{"name":"` + injector.SidecarName + `"}`
	const init, envoy = injector.InitContainerName, injector.SidecarName
	native := strings.Replace(status(injector.Version, i.ConfigHash()), `\"plan\":`, `\"mode\":\"native\",\"plan\":`, 1)
	classic := strings.Replace(native, "native", "classic", 1)
	withEnvoy := func(inits ...string) string {
		return `,{"name":"` + envoy + `"}],"initContainers":[` + strings.Join(inits, ",")
	}
	const first, migrate, keeps = `{"name":"` + init + `"}`, `{"name":"migrate"}`, `{"name":"logs","restartPolicy":"Always"}`
	inOrder := func(policy, first, second string) string {
		one := func(name string) string {
			if name == envoy && policy != "" {
				return `{"name":"` + name + `","restartPolicy":"` + policy + `"}`
			}
			return `{"name":"` + name + `"}`
		}
		return `],"initContainers":[` + one(first) + "," + one(second)
	}
	optedIn := map[string]string{"service-mesh-enabled": "true"}
	for name, c := range map[string]struct {
		metadata, containers string
		labels               map[string]string
		want                 injector.State
		reason               injector.Reason
	}{
		"current":                                  {status(injector.Version, i.ConfigHash()), ours, optedIn, injector.Injected, injector.ReasonInjected},
		"another version":                          {status("v0", i.ConfigHash()), ours, optedIn, injector.Outdated, injector.ReasonInjected},
		"other configuration":                      {status(injector.Version, "other"), ours, optedIn, injector.Outdated, injector.ReasonInjected},
		"native, as injected":                      {native, inOrder("Always", init, envoy), optedIn, injector.Injected, injector.ReasonInjected},
		"restartPolicy stripped":                   {native, inOrder("", init, envoy), optedIn, injector.Damaged, injector.ReasonInjected},
		"reordered":                                {native, inOrder("Always", envoy, init), optedIn, injector.Damaged, injector.ReasonInjected},
		"moved to the containers":                  {native, `,{"name":"` + envoy + `"}],"initContainers":[{"name":"` + init + `"}`, optedIn, injector.Damaged, injector.ReasonInjected},
		"its proxy taken away":                     {native, `],"initContainers":[` + first, optedIn, injector.Damaged, injector.ReasonInjected},
		"its redirect taken away":                  {native, `],"initContainers":[{"name":"` + envoy + `","restartPolicy":"Always"}`, optedIn, injector.Damaged, injector.ReasonInjected},
		"classic, as injected":                     {classic, withEnvoy(migrate, first), optedIn, injector.Injected, injector.ReasonInjected},
		"an init container after":                  {classic, withEnvoy(first, migrate), optedIn, injector.Damaged, injector.ReasonInjected},
		"one that keeps running":                   {classic, withEnvoy(migrate, first, keeps), optedIn, injector.Injected, injector.ReasonInjected},
		"the redirect for ever":                    {classic, withEnvoy(`{"name":"` + init + `","restartPolicy":"Always"}`), optedIn, injector.Damaged, injector.ReasonInjected},
		"among the init ones":                      {classic, inOrder("", init, envoy), optedIn, injector.Damaged, injector.ReasonInjected},
		"classic without a proxy":                  {classic, `],"initContainers":[` + first, optedIn, injector.Damaged, injector.ReasonInjected},
		"classic without redirect":                 {classic, `,{"name":"` + envoy + `"}`, optedIn, injector.Damaged, injector.ReasonInjected},
		"missed":                                   {"", "", optedIn, injector.Missed, injector.ReasonInjected},
		"a status without a sidecar is no sidecar": {status(injector.Version, i.ConfigHash()), "", optedIn, injector.Missed, injector.ReasonInjected},
		"its namespace did not opt in":             {"", "", map[string]string{}, injector.NotInjected, injector.ReasonNamespaceNotOptedIn},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			raw := `{"metadata":{"name":"web","labels":{"service-mesh-enabled":"true"}` + c.metadata + `},"spec":{"containers":[{"name":"app","image":"app"}` + orClose(c.containers) + `}}`
			pod, err := injector.DecodePod([]byte(raw))
			if err != nil {
				t.Fatal(err)
			}
			got := i.Audit(injector.Request{Pod: pod, Namespace: injector.Namespace{Name: "shop", Labels: c.labels}})
			if got.State != c.want || got.Decision.Reason != c.reason || got.Message == "" {
				t.Errorf("the audit says %s, %s (%s); want %s, %s", got.State, got.Decision.Reason.Name, got.Message, c.want, c.reason.Name)
			}
			if (got.Status != nil) != (c.want != injector.Missed && c.want != injector.NotInjected) {
				t.Errorf("the status is %v", got.Status)
			}
		})
	}
}

// TestAuditOfPodsWithoutMesh: pods that were injected while MeshServices did not come to them
// cannot get one, so they are outdated as soon as others can.
func TestAuditOfPodsWithoutMesh(t *testing.T) {
	t.Parallel()
	without, with := v1alpha1.DefaultConfig(), v1alpha1.DefaultConfig()
	off := v1alpha1.MeshServiceOff
	without.Envoy.MeshService = &off
	ns := injector.Namespace{Name: "shop", Labels: map[string]string{"service-mesh-enabled": "true"}}
	raw := []byte(`{"metadata":{"name":"x","labels":{"service-mesh-enabled":"true","app":"x"}},"spec":{"containers":[{"name":"app"}]}}`)
	audit := func(by, of *v1alpha1.InjectorConfig) (injector.Audit, bool) {
		t.Helper()
		injected, err := injector.New(of)
		if err != nil {
			t.Fatal(err)
		}
		judge, err := injector.New(by)
		if err != nil {
			t.Fatal(err)
		}
		_, pod := injectWith(t, injected, ns, raw)
		decoded, err := injector.DecodePod(pod)
		if err != nil {
			t.Fatal(err)
		}
		return judge.Audit(injector.Request{Pod: decoded, Namespace: ns}), mountsMesh(decodeAny(t, pod).(map[string]any)["spec"].(map[string]any))
	}
	if is, mounts := audit(with, without); is.State != injector.Outdated || mounts {
		t.Errorf("without the volume it is %s: %s (mounted: %t)", is.State, is.Message, mounts)
	}
	if is, mounts := audit(with, with); is.State != injector.Injected || !mounts {
		t.Errorf("with the volume it is %s: %s (mounted: %t)", is.State, is.Message, mounts)
	}
}

// orClose closes the list of containers where none follow.
func orClose(more string) string {
	if more == "" {
		return "]"
	}
	return more + "]"
}
