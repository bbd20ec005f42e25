package bootstrap

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
)

// TestNoFurtherReach: what a MeshService is never rendered to does not come to Envoy, in
// whichever message, place and spelling it is. Some of it would be accepted there.
func TestNoFurtherReach(t *testing.T) {
	const types = `"@type": "type.googleapis.com/`
	cluster := func(fields string) func(*Generation) {
		return func(g *Generation) {
			g.Clusters = []Cluster{{"x@1", json.RawMessage(`{` + types + `envoy.config.cluster.v3.Cluster", "name": "x@1", ` + fields + `}`)}}
		}
	}
	address := func(of string) func(*Generation) {
		return cluster(`"load_assignment": {"endpoints": [{"lb_endpoints": [{"endpoint": {"address": {` + of + `}}}]}]}`)
	}
	filter := func(of string) func(*Generation) {
		return func(g *Generation) {
			g.Inbound = []InboundPort{{Port: 8080, HTTPFilters: []json.RawMessage{json.RawMessage(`{"name": "f", ` + of + `}`)}}}
		}
	}
	host := func(of string) func(*Generation) {
		return func(g *Generation) {
			g.Outbound.VirtualHosts = []json.RawMessage{json.RawMessage(`{"name": "h", "domains": ["h"], ` + of + `}`)}
		}
	}
	answer := func(of string) func(*Generation) {
		return host(`"routes": [{"match": {"prefix": ""}, "direct_response": {"status": 200, ` + of + `}}]`)
	}
	for name, test := range map[string]struct {
		change func(*Generation)
		says   string
	}{
		"a script": {filter(`"typed_config": {` + types + `envoy.extensions.filters.http.lua.v3.Lua", "default_source_code": {"inline_string": ""}}`),
			"a filter of the inbound port 8080: it has a message of the type envoy.extensions.filters.http.lua.v3.Lua"},
		"a program that sees all requests":    {filter(`"typed_config": {` + types + `envoy.extensions.filters.http.ext_proc.v3.ExternalProcessor"}`), "ExternalProcessor"},
		"a type by another address":           {filter(`"typed_config": {"@type": "example.com/envoy.extensions.filters.http.lua.v3.Lua"}`), "Lua"},
		"a type within a type":                {filter(`"typed_config": {` + types + `google.protobuf.Any", "value": {}}`), "google.protobuf.Any"},
		"the first of two types":              {filter(`"typed_config": {` + types + `envoy.extensions.filters.http.lua.v3.Lua", ` + types + `envoy.config.cluster.v3.Cluster"}`), "Lua"},
		"a type in other letters":             {filter(`"typed_config": {"\u0040type": "type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua"}`), "Lua"},
		"a filter of a route":                 {host(`"typed_per_filter_config": {"f": {` + types + `envoy.extensions.filters.http.lua.v3.LuaPerRoute"}}`), "LuaPerRoute"},
		"a filter from a file":                {filter(`"config_discovery": {}`), "the field config_discovery"},
		"a filter from a file, spelled again": {filter(`"configDiscovery": {}`), "the field configDiscovery"},
		"TLS with the pod's files":            {cluster(`"transport_socket": {"name": "tls", "typed_config": {` + types + `envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"}}`), "the cluster x@1: it has a message of the type envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext"},
		"a socket in the container":           {address(`"pipe": {"path": "/run/admin.sock"}`), "the field pipe"},
		"a listener inside":                   {address(`"envoyInternalAddress": {}`), "the field envoyInternalAddress"},
		"addresses from a file":               {cluster(`"eds_cluster_config": {"eds_config": {"path": "/x"}}`), "the field eds_config"},
		"a file as an answer":                 {answer(`"body": {"filename": "/var/run/secrets/kubernetes.io/serviceaccount/token"}`), "the virtual host 0: it has the field filename"},
		"the environment as an answer":        {answer(`"body": {"environmentVariable": "HOME"}`), "the field environmentVariable"},
		"the environment in a body's format":  {answer(`"body_format": {"text_format": "%ENVIRONMENT(HOME)%"}`), `the format "%ENVIRONMENT(HOME)%"`},
		"the environment in a header":         {host(`"request_headers_to_add": [{"header": {"key": "x", "value": "%ENVIRONMENT(HOME)%"}}]`), `the format "%ENVIRONMENT(HOME)%"`},
		"a file in a response's header":       {host(`"responseHeadersToAdd": [{"header": {"key": "x", "value": "%%%FILE_CONTENT(/x)%"}}]`), `the format "%%%FILE_CONTENT(/x)%"`},
		"a file in a refusal":                 {func(g *Generation) { g.Outbound.RefuseUndeclared = "%FILE_CONTENT(/x)%" }, "refuseUndeclared"},
	} {
		t.Run(name, func(t *testing.T) {
			g := Generation{}
			test.change(&g)
			err := g.Check(Config{})
			if err == nil || !strings.Contains(err.Error(), test.says) {
				t.Errorf("Check says %v, want something with %q", err, test.says)
			}
		})
	}
	t.Run("what is meant", func(t *testing.T) {
		g := Generation{}
		// A value that is compared with is no format.
		host(fmt.Sprintf(`"request_headers_to_add": [{"header": {"key": "x", "value": "%%REQ(%s)%%"}}],
			"routes": [{"match": {"prefix": "", "headers": [{"name": "x", "string_match": {"exact": "%%ENVIRONMENT(HOME)%%"}}]}}]`, ForwardedProtoAside))(&g)
		g.Outbound.RefuseUndeclared = "%REQ(:AUTHORITY)% is 100%% refused"
		if err := g.Check(Config{}); err != nil {
			t.Error(err)
		}
	})
}
