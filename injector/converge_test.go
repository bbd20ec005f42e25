package injector_test

import (
	"encoding/json"
	"slices"
	"testing"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
)

// TestConverges changes an injected pod as other webhooks do, injects again as
// reinvocation does, and expects the sidecar where it belongs and all of the pod's
// containers cared for; a third pass changes nothing.
func TestConverges(t *testing.T) {
	container := func(name string) map[string]any {
		return map[string]any{"name": name, "image": name, "livenessProbe": map[string]any{"tcpSocket": map[string]any{"port": 9999}}}
	}
	prepend := func(list, name string) func(spec map[string]any) {
		return func(spec map[string]any) {
			items, _ := spec[list].([]any)
			spec[list] = append([]any{container(name)}, items...)
		}
	}
	appendTo := func(list, name string) func(spec map[string]any) {
		return func(spec map[string]any) {
			items, _ := spec[list].([]any)
			spec[list] = append(items, container(name))
		}
	}
	changes := map[string]func(spec map[string]any){
		"init container in front":     prepend("initContainers", "theirs"),
		"init container behind":       appendTo("initContainers", "theirs"),
		"container in front":          prepend("containers", "theirs"),
		"container behind":            appendTo("containers", "theirs"),
		"volumes removed":             func(spec map[string]any) { delete(spec, "volumes") },
		"grace period lowered":        func(spec map[string]any) { spec["terminationGracePeriodSeconds"] = 7 },
		"grace period removed":        func(spec map[string]any) { delete(spec, "terminationGracePeriodSeconds") },
		"app's preStop taken away":    func(spec map[string]any) { delete(app(spec), "lifecycle") },
		"app's probe set as it was":   func(spec map[string]any) { setProbe(spec, 8080) },
		"app's probe set to another":  func(spec map[string]any) { setProbe(spec, 8081) },
		"our init container reversed": func(spec map[string]any) { slices.Reverse(spec["initContainers"].([]any)) },
	}
	for _, mode := range []v1alpha1.SidecarMode{v1alpha1.ModeNative, v1alpha1.ModeClassic} {
		config := v1alpha1.DefaultConfig()
		config.Sidecar.Mode = &mode
		i, err := injector.New(config)
		if err != nil {
			t.Fatal(err)
		}
		for name, change := range changes {
			t.Run(string(mode)+"/"+name, func(t *testing.T) { converge(t, i, mode, change) })
		}
	}
}

func app(spec map[string]any) map[string]any {
	items := spec["containers"].([]any)
	n := slices.IndexFunc(items, func(c any) bool { return c.(map[string]any)["name"] == "app" })
	return items[n].(map[string]any)
}

func setProbe(spec map[string]any, port int) {
	app(spec)["livenessProbe"].(map[string]any)["httpGet"].(map[string]any)["port"] = port
}

func converge(t *testing.T, i *injector.Injector, mode v1alpha1.SidecarMode, change func(map[string]any)) {
	t.Helper()
	raw := []byte(`{"metadata":{"name":"a","labels":{"service-mesh-enabled":"true"}},"spec":{"restartPolicy":"Always","terminationGracePeriodSeconds":30,
		"initContainers":[{"name":"migrate"}],"containers":[{"name":"app","livenessProbe":{"httpGet":{"port":8080}}}],"volumes":[{"name":"data"}]}}`)
	ns := injector.Namespace{Name: "shop"}
	_, first := injectWith(t, i, ns, raw)
	pod := decodeAny(t, first).(map[string]any)
	change(pod["spec"].(map[string]any))
	changed, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	_, second := injectWith(t, i, ns, changed)
	third, _ := injectWith(t, i, ns, second)
	if len(third.Patch) != 0 {
		t.Errorf("a third pass changes the pod:\n%s", describe(third))
	}
	spec := decodeAny(t, second).(map[string]any)["spec"].(map[string]any)
	inits, containers := names(spec, "initContainers"), names(spec, "containers")
	if mode == v1alpha1.ModeNative {
		if !slices.Equal(inits[:2], []string{"pillion-init", "envoy"}) || slices.Contains(containers, "envoy") {
			t.Errorf("init containers %v, containers %v", inits, containers)
		}
	} else if inits[len(inits)-1] != "pillion-init" || containers[0] != "envoy" || slices.Contains(inits, "envoy") {
		t.Errorf("init containers %v, containers %v", inits, containers)
	}
	if volumes := names(spec, "volumes"); !slices.Contains(volumes, "pillion-bin") || !slices.Contains(volumes, "pillion-run") {
		t.Errorf("volumes %v", volumes)
	}
	for _, c := range spec["containers"].([]any) {
		c := c.(map[string]any)
		lifecycle, _ := c["lifecycle"].(map[string]any)
		if lifecycle["preStop"] == nil {
			t.Errorf("container %s has no preStop hook", c["name"])
		}
		if probe, ok := c["livenessProbe"].(map[string]any); ok {
			for _, action := range probe {
				if port := action.(map[string]any)["port"]; port != json.Number("15040") && port != json.Number("15041") {
					t.Errorf("container %s is probed at %v, through Envoy", c["name"], port)
				}
			}
		}
	}
	if grace, err := spec["terminationGracePeriodSeconds"].(json.Number).Int64(); err != nil || grace < 55 {
		t.Errorf("grace period %v", spec["terminationGracePeriodSeconds"])
	}
}

func names(spec map[string]any, list string) []string {
	var found []string
	items, _ := spec[list].([]any)
	for _, item := range items {
		found = append(found, item.(map[string]any)["name"].(string))
	}
	return found
}
