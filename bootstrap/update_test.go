package bootstrap

import (
	"encoding/json"
	"strings"
	"testing"
)

// TestCheckClusters: a cluster that would change in place while DNS has not answered is
// refused, as are two of one name and one that calls itself otherwise.
func TestCheckClusters(t *testing.T) {
	of := func(name, fields string) Cluster { return Cluster{name, json.RawMessage(`{"name": ` + fields + `}`)} }
	for says, clusters := range map[string][]Cluster{
		"": {of("db", `"db", "type": "ORIGINAL_DST"`), of("web@1", `"web@1", "load_assignment": {}`)},
		"the cluster web has addresses and no hash in its name": {of("web", `"web", "load_assignment": {}`)},
		"there are two clusters db":                             {of("db", `"db"`), of("db", `"db"`)},
		"there are two clusters outbound_passthrough":           {of(OutboundPassthrough, `"outbound_passthrough"`)},
		`the cluster db calls itself "web"`:                     {of("db", `"web"`)},
	} {
		g := Generation{Clusters: clusters}
		err := g.Check(Config{})
		if (says == "") != (err == nil) || err != nil && !strings.Contains(err.Error(), says) {
			t.Errorf("want %q, got %v", says, err)
		}
	}
}
