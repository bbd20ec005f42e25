package bootstrap

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func someGeneration() Generation {
	age := Duration(90 * time.Second)
	return Generation{
		Service: "checkout", Namespace: "shop", Created: 1_700_000_000, Number: 3,
		Clusters: []Cluster{{Name: "payments@1", Message: json.RawMessage(`{"@type":"x","name":"payments@1"}`)}},
		Inbound:  []InboundPort{{Port: 8080, Timeout: Duration(1500 * time.Millisecond), MaxConnectionAge: &age}},
		Outbound: Destinations{VirtualHosts: []json.RawMessage{json.RawMessage(`{"name":"payments"}`)}, Connections: []Connection{{Name: "db", Port: 5432, Cluster: "db@1"}}},
	}
}

// TestGeneration: what is read is what was written, and the same content has the same
// version.
func TestGeneration(t *testing.T) {
	g, again := someGeneration(), someGeneration()
	data, err := g.Seal()
	if err != nil {
		t.Fatal(err)
	}
	read, err := ParseGeneration(data)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(&g, read); diff != "" {
		t.Errorf("(-written +read):\n%s", diff)
	}
	if _, err := again.Seal(); err != nil || again.Version != g.Version {
		t.Errorf("the same content has the versions %s and %s, %v", g.Version, again.Version, err)
	}
	again.Number++
	if _, err := again.Seal(); err != nil || again.Version == g.Version {
		t.Errorf("another content has the same version, %v", err)
	}
	if !g.OlderThan(&again) || again.OlderThan(&g) || g.OlderThan(&g) {
		t.Error("the order of generations is wrong")
	}
}

// TestGenerationIsWhole: what was cut or changed on the way is refused.
func TestGenerationIsWhole(t *testing.T) {
	g := someGeneration()
	data, err := g.Seal()
	if err != nil {
		t.Fatal(err)
	}
	for n := range data {
		if _, err := ParseGeneration(data[:n]); err == nil {
			t.Errorf("a generation cut behind %d of %d bytes is taken", n, len(data))
		}
	}
	for what, changed := range map[string]string{
		"another port":     strings.Replace(string(data), "8080", "8081", 1),
		"a field more":     strings.Replace(string(data), `"number"`, `"colour":"red","number"`, 1),
		"something behind": string(data) + "{}",
		"another version":  strings.Replace(string(data), g.Version, "0123456789abcdef", 1),
		"no format":        strings.Replace(string(data), `"format":1,`, "", 1),
		"no generation":    `{"format":1,"version":"x"}`,
	} {
		_, err := ParseGeneration([]byte(changed))
		if err == nil || !strings.Contains(err.Error(), "changed on the way") || strings.Contains(err.Error(), "newer Pillion") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestNewerGeneration: what a newer Pillion wrote is whole, and is not called damaged.
func TestNewerGeneration(t *testing.T) {
	seal := func(format int, content string) string {
		return fmt.Sprintf(`{"format":%d,"version":%q,"generation":%s}`, format, hash([]byte(content)), content)
	}
	for what, file := range map[string]string{
		"a higher format":              seal(2, `{"service":"checkout"}`),
		"a higher format, hashed anew": strings.Replace(seal(2, `{"service":"checkout"}`), `"version":"`, `"version":"sha512:`, 1),
		"a field more":                 seal(1, `{"service":"checkout","colour":"red"}`),
		"a field more deep in it":      seal(1, `{"service":"checkout","inbound":[{"port":80,"colour":"red"}]}`),
		"a field of another type":      seal(1, `{"service":{"name":"checkout"}}`),
	} {
		_, err := ParseGeneration([]byte(file))
		if err == nil || !strings.Contains(err.Error(), "made by a newer Pillion") || strings.Contains(err.Error(), "changed on the way") {
			t.Errorf("%s: %v", what, err)
		}
	}
	// The content is not written as this program would write it.
	if g, err := ParseGeneration([]byte(seal(1, `{"number": 3, "service":"checkout"}`))); err != nil || g.Number != 3 {
		t.Errorf("fields in another order: %v", err)
	}
}
