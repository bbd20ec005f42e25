package envoy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/mesh"
)

// TestDiffIsTrue changes each value of a document alone, and takes each part of it out. Where
// pods get something else, mesh.Diff tells; and it tells of connections that end just where
// the listeners change, which is what ends them.
func TestDiffIsTrue(t *testing.T) {
	document := func() map[string]any {
		full, err := yaml.Marshal(everything(t))
		if err != nil {
			t.Fatal(err)
		}
		var fields map[string]any
		if err := yaml.Unmarshal(full, &fields); err != nil {
			t.Fatal(err)
		}
		return fields
	}
	before, listeners, version := modelOf(t, document())
	compared := 0
	for _, path := range pathsIn(document()["spec"], nil) {
		for _, value := range others(at(document()["spec"], path)) {
			changed := document()
			changed["spec"] = with(changed["spec"], path, value)
			after, now, nowVersion := modelOf(t, changed)
			if after == nil {
				continue // not valid
			}
			compared++
			changes := mesh.Diff(before, after)
			ends := slices.ContainsFunc(changes, func(c mesh.Change) bool { return c.Drains != "" })
			if len(changes) == 0 && nowVersion != version || ends != (now != listeners) {
				t.Errorf("%v becomes %v: another version: %t, other listeners: %t, and what is told is %v", path, value, nowVersion != version, now != listeners, changes)
			}
		}
	}
	if compared < 100 {
		t.Errorf("%d changes are not all of them", compared)
	}
}

// modelOf a document, with the listeners that it makes; nil for one that is not valid.
func modelOf(t *testing.T, document map[string]any) (service *mesh.Service, listeners, version string) {
	t.Helper()
	text, err := json.Marshal(document)
	if err != nil {
		t.Fatal(err)
	}
	decoded, err := v1alpha1.DecodeMeshService(text)
	if err != nil {
		return nil, "", ""
	}
	g, _ := sealed(t, decoded)
	for _, file := range bootstrap.New(bootstrap.Config{
		Service: g.Service, PodName: "pod", PodNamespace: g.Namespace, NodeName: "node", Folder: "/run",
		InboundPort: 15006, OutboundPort: 15001, IPv4: true, DownstreamAge: time.Hour, Generation: g,
	}) {
		if strings.HasSuffix(file.Name, "lds.json") {
			listeners = string(bytes.ReplaceAll(file.Content, []byte(g.Version), nil))
		}
	}
	if service, err = mesh.Resolve(decoded); err != nil || listeners == "" {
		t.Fatalf("%v; %d bytes of listeners", err, len(listeners))
	}
	return service, listeners, g.Version
}

// pathsIn are all parts of a value, by keys and indexes.
func pathsIn(value any, path []any) [][]any {
	var paths [][]any
	below := func(key, part any) {
		p := append(slices.Clone(path), key)
		paths = append(append(paths, p), pathsIn(part, p)...)
	}
	switch v := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			below(key, v[key])
		}
	case []any:
		for n, part := range v {
			below(n, part)
		}
	}
	return paths
}

func at(value any, path []any) any {
	for _, key := range path {
		switch k := key.(type) {
		case string:
			value = value.(map[string]any)[k]
		case int:
			value = value.([]any)[k]
		}
	}
	return value
}

// gone is a part that is taken out.
type gone struct{}

// with is a value with another part in it.
func with(value any, path []any, part any) any {
	if len(path) == 0 {
		return part
	}
	switch k := path[0].(type) {
	case string:
		of := value.(map[string]any)
		if of[k] = with(of[k], path[1:], part); of[k] == any(gone{}) {
			delete(of, k)
		}
	case int:
		list := value.([]any)
		if list[k] = with(list[k], path[1:], part); list[k] == any(gone{}) {
			return slices.Delete(list, k, k+1)
		}
	}
	return value
}

// others are values to try in the place of one; those that do not fit are not valid.
func others(value any) []any {
	values := []any{gone{}}
	switch v := value.(type) {
	case float64:
		values = append(values, v+1)
	case string:
		values = append(values, v+"x")
		if _, err := time.ParseDuration(v); err == nil {
			values = append(values, "77ms", "7s")
		} else if v == strings.ToUpper(v) {
			values = append(values, "HTTP", "TCP", "TLS", "GRPC", "HTTP1", "HTTP2")
		} else if v[:1] == strings.ToUpper(v[:1]) {
			values = append(values, "Passthrough", "None", "Reset", "Absent")
		}
	case []any:
		if len(v) > 1 {
			turned := slices.Clone(v)
			slices.Reverse(turned)
			values = append(values, turned)
		}
	case map[string]any:
		if _, is := v["host"]; is {
			moved := maps.Clone(v)
			delete(moved, "host")
			moved["service"] = map[string]any{"name": "elsewhere"}
			values = append(values, moved)
		}
		if service, is := v["service"].(map[string]any); is {
			named := maps.Clone(v)
			delete(named, "service")
			named["host"] = fmt.Sprintf("%v.%v.svc", service["name"], service["namespace"])
			values = append(values, named)
		}
	}
	return values
}
