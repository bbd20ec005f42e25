package envoy

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	routev3 "github.com/envoyproxy/go-control-plane/envoy/config/route/v3"
	hcmv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"

	"github.com/pillion-mesh/pillion/bootstrap"
)

// TestNoFieldLeadsElsewhere: of all fields that Envoy has in the messages that pods take,
// those that lead to files, sockets of the container, its environment, or configuration
// from elsewhere are refused by pods. A newer Envoy may bring some more.
func TestNoFieldLeadsElsewhere(t *testing.T) {
	leads := []protoreflect.FullName{
		"envoy.config.core.v3.Pipe", "envoy.config.core.v3.EnvoyInternalAddress", "envoy.config.core.v3.WatchedDirectory",
		"envoy.config.core.v3.ConfigSource", "envoy.config.core.v3.PathConfigSource", "envoy.config.core.v3.ExtensionConfigSource",
	}
	read := []protoreflect.Name{"filename", "environment_variable"}
	seen, found := map[protoreflect.FullName]bool{}, map[protoreflect.FullName]bool{}
	var walk func(protoreflect.MessageDescriptor)
	walk = func(m protoreflect.MessageDescriptor) {
		if seen[m.FullName()] {
			return
		}
		seen[m.FullName()] = true
		for n := range m.Fields().Len() {
			f := m.Fields().Get(n)
			inner := f.Message()
			if f.IsMap() {
				inner = f.MapValue().Message()
			}
			if inner != nil && slices.Contains(leads, inner.FullName()) || m.FullName() == "envoy.config.core.v3.DataSource" && slices.Contains(read, f.Name()) {
				found[f.FullName()] = true
				for _, name := range []string{string(f.Name()), f.JSONName()} {
					g := bootstrap.Generation{Outbound: bootstrap.Destinations{VirtualHosts: []json.RawMessage{json.RawMessage(`{"` + name + `": {}}`)}}}
					if g.Check(bootstrap.Config{}) == nil {
						t.Errorf("%s is taken as %s", f.FullName(), name)
					}
				}
				continue // nothing behind it is reached
			}
			if inner != nil {
				walk(inner)
			}
		}
	}
	walk((&clusterv3.Cluster{}).ProtoReflect().Descriptor())
	walk((&routev3.VirtualHost{}).ProtoReflect().Descriptor())
	walk((&hcmv3.HttpFilter{}).ProtoReflect().Descriptor())
	for _, name := range typesOfGoldens(t) {
		d, err := protoregistry.GlobalTypes.FindMessageByName(name)
		if err != nil {
			t.Fatal(err)
		}
		walk(d.Descriptor())
	}
	for _, name := range []protoreflect.FullName{"envoy.config.core.v3.Address.pipe", "envoy.config.core.v3.DataSource.filename"} {
		if !found[name] {
			t.Errorf("%s was not found in %d messages", name, len(seen))
		}
	}
	t.Logf("%d messages, refused: %v", len(seen), found)
}

// typesOfGoldens are the types of messages in what documents are rendered to.
func typesOfGoldens(t *testing.T) []protoreflect.FullName {
	t.Helper()
	goldens, err := filepath.Glob("testdata/*.json")
	if err != nil || len(goldens) == 0 {
		t.Fatalf("there are no goldens: %v", err)
	}
	var types []protoreflect.FullName
	for _, golden := range goldens {
		content, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		for _, match := range regexp.MustCompile(`"@type": *"type\.googleapis\.com/([^"]+)"`).FindAllSubmatch(content, -1) {
			types = append(types, protoreflect.FullName(match[1]))
		}
	}
	slices.Sort(types)
	return slices.Compact(types)
}
