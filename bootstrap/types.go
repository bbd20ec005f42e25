package bootstrap

import "encoding/json"

// The types below are Envoy's messages, with the fields that are used here and
// Envoy's own names for them. `envoy --mode validate` refuses a field that it does
// not know, which a test asks it to.

type bootstrap struct {
	Node             node             `json:"node"`
	Admin            admin            `json:"admin"`
	DynamicResources dynamicResources `json:"dynamic_resources"`
	StaticResources  staticResources  `json:"static_resources"`
	LayeredRuntime   layeredRuntime   `json:"layered_runtime"`
	Overload         *overloadManager `json:"overload_manager,omitempty"`
	Stats            statsConfig      `json:"stats_config"`
	DeferredStats    deferredStats    `json:"deferred_stat_options"`
	DNS              *extension       `json:"typed_dns_resolver_config"`
}

type node struct {
	ID       string            `json:"id"`
	Cluster  string            `json:"cluster"`
	Metadata map[string]string `json:"metadata"`
}

type admin struct {
	Address    address         `json:"address"`
	AllowPaths []stringMatcher `json:"allow_paths"`
}

type address struct {
	Pipe   *pipe          `json:"pipe,omitempty"`
	Socket *socketAddress `json:"socket_address,omitempty"`
}

type pipe struct {
	Path string `json:"path"`
	Mode uint32 `json:"mode"`
}

type socketAddress struct {
	Address    string `json:"address"`
	Port       uint16 `json:"port_value"`
	IPv4Compat bool   `json:"ipv4_compat,omitempty"`
}

type stringMatcher struct {
	Exact  string     `json:"exact,omitempty"`
	Prefix string     `json:"prefix,omitempty"`
	Regex  *safeRegex `json:"safe_regex,omitempty"`
}

type safeRegex struct {
	Regex string `json:"regex"`
}

type dynamicResources struct {
	CDS configSource `json:"cds_config"`
	LDS configSource `json:"lds_config"`
}

type configSource struct {
	APIVersion string            `json:"resource_api_version"`
	Path       *pathConfigSource `json:"path_config_source"`
}

type pathConfigSource struct {
	Path string `json:"path"`
}

type staticResources struct {
	Clusters []cluster `json:"clusters"`
}

type layeredRuntime struct {
	Layers []runtimeLayer `json:"layers"`
}

type runtimeLayer struct {
	Name       string    `json:"name"`
	AdminLayer *struct{} `json:"admin_layer"`
}

type overloadManager struct {
	RefreshInterval string           `json:"refresh_interval"`
	Monitors        []extension      `json:"resource_monitors"`
	Actions         []overloadAction `json:"actions,omitempty"`
	BufferFactory   *bufferFactory   `json:"buffer_factory_config,omitempty"`
}

type overloadAction struct {
	Name     string    `json:"name"`
	Triggers []trigger `json:"triggers"`
}

type trigger struct {
	Name      string     `json:"name"`
	Threshold *threshold `json:"threshold,omitempty"`
	Scaled    *scaled    `json:"scaled,omitempty"`
}

type threshold struct {
	Value float64 `json:"value"`
}

type scaled struct {
	Scaling    float64 `json:"scaling_threshold"`
	Saturation float64 `json:"saturation_threshold"`
}

type bufferFactory struct {
	MinimumAccountPowerOfTwo int `json:"minimum_account_to_track_power_of_two"`
}

type connectionsMonitor struct {
	Type string `json:"@type"`
	Max  int64  `json:"max_active_downstream_connections"`
}

type fixedHeap struct {
	Type string `json:"@type"`
	Max  int64  `json:"max_heap_size_bytes"`
}

type statsConfig struct {
	Matcher statsMatcher `json:"stats_matcher"`
}

type statsMatcher struct {
	Inclusion patterns `json:"inclusion_list"`
}

type patterns struct {
	Patterns []stringMatcher `json:"patterns"`
}

type deferredStats struct {
	Enable bool `json:"enable_deferred_creation_stats"`
}

type caresConfig struct {
	Type                string `json:"@type"`
	QueryTimeoutSeconds int    `json:"query_timeout_seconds"`
	QueryTries          int    `json:"query_tries"`
}

// extension is one of Envoy's extensions with its configuration, which carries its
// own type.
type extension struct {
	Name   string `json:"name"`
	Config any    `json:"typed_config"`
}

// discovery is the content of a file that Envoy watches.
type discovery[T any] struct {
	VersionInfo string `json:"version_info"`
	Resources   []T    `json:"resources"`
}

// typed is a resource with the name of its message before its fields.
type typed[T any] struct {
	Type  string
	Value T
}

// MarshalJSON writes "@type" as the first field of the value.
func (t typed[T]) MarshalJSON() ([]byte, error) {
	value, err := json.Marshal(t.Value)
	if err != nil {
		return nil, err
	}
	name, err := json.Marshal(t.Type)
	if err != nil {
		return nil, err
	}
	out := append([]byte(`{"@type":`), name...)
	return append(append(out, ','), value[1:]...), nil
}
