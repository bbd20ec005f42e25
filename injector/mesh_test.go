package injector_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
)

// TestMeshVolumeFollowsTheService makes an injected pod one of another service, as another
// webhook does, and expects that service's MeshService in it.
func TestMeshVolumeFollowsTheService(t *testing.T) {
	i, err := injector.New(v1alpha1.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range map[string]struct {
		before, after string // services
		remove        bool   // of the volume, in between
		want          any
	}{
		"the same":                 {"a", "a", false, "pillion-mesh-a"},
		"another":                  {"a", "b", false, "pillion-mesh-b"},
		"none before":              {"shop/a", "b", false, "pillion-mesh-b"},
		"none after":               {"a", "shop/b", false, nil},
		"none at all":              {"shop/a", "shop/b", false, nil},
		"the volume was removed":   {"a", "a", true, "pillion-mesh-a"},
		"removed, of another":      {"a", "b", true, "pillion-mesh-b"},
		"removed, and none is due": {"a", "shop/b", true, nil},
	} {
		t.Run(name, func(t *testing.T) {
			raw := []byte(`{"metadata":{"name":"x","labels":{"service-mesh-enabled":"true"},"annotations":{"pillion.dev/service":"` + test.before + `"}},
				"spec":{"containers":[{"name":"app"}],"volumes":[{"name":"data"}]}}`)
			ns := injector.Namespace{Name: "shop"}
			_, first := injectWith(t, i, ns, raw)
			pod := decodeAny(t, first).(map[string]any)
			pod["metadata"].(map[string]any)["annotations"].(map[string]any)["pillion.dev/service"] = test.after
			if spec := pod["spec"].(map[string]any); test.remove {
				spec["volumes"] = slices.DeleteFunc(spec["volumes"].([]any), func(v any) bool { return v.(map[string]any)["name"] == injector.MeshVolume })
			}
			changed, err := json.Marshal(pod)
			if err != nil {
				t.Fatal(err)
			}
			_, second := injectWith(t, i, ns, changed)
			if third, _ := injectWith(t, i, ns, second); len(third.Patch) != 0 {
				t.Errorf("a third pass changes the pod:\n%s", describe(third))
			}
			spec := decodeAny(t, second).(map[string]any)["spec"].(map[string]any)
			if diff := cmp.Diff(test.want, meshConfigMap(spec)); diff != "" {
				t.Errorf("the ConfigMap of the volume (-want +got):\n%s", diff)
			}
			if mounted := mountsMesh(spec); mounted != (test.want != nil) {
				t.Errorf("the sidecar mounts it: %t", mounted)
			}
		})
	}
}

// meshConfigMap is the name of the ConfigMap in the volume; nil without one.
func meshConfigMap(spec map[string]any) any {
	var found any
	for _, v := range spec["volumes"].([]any) {
		if v := v.(map[string]any); v["name"] == injector.MeshVolume {
			found = v["configMap"].(map[string]any)["name"]
		}
	}
	return found
}

func mountsMesh(spec map[string]any) bool {
	for _, c := range spec["initContainers"].([]any) {
		mounts, _ := c.(map[string]any)["volumeMounts"].([]any)
		for _, m := range mounts {
			m := m.(map[string]any)
			if m["name"] == injector.MeshVolume && m["readOnly"] == true && m["mountPath"] == "/pillion/mesh" {
				return c.(map[string]any)["name"] == injector.SidecarName
			}
		}
	}
	return false
}
