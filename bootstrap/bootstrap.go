// Package bootstrap is Envoy's configuration for one pod: the bootstrap, and the
// built-in listeners, clusters and routes that pass traffic through to where it was
// going anyway.
//
// The way of a connection. The kernel leads what the pod's processes open to the
// listener `outbound` on loopback, and what comes to the pod to the listener
// `inbound`. Both find out where the connection was going (original_dst) and look at
// its first bytes. What is HTTP/1 or HTTP/2 without TLS goes through the HTTP
// connection manager, everything else through the TCP proxy, and both on to the
// original destination (clusters `outbound_passthrough` and `inbound_passthrough`).
//
// Passthrough means that an app cannot tell that Envoy is there but by what it asked
// for: no limit of Envoy's is tighter than those that servers usually have, no header
// is added, no timeout ends what the app itself would wait for.
//
// The bootstrap holds what needs a restart to change. Listeners and routes are in
// files that Envoy watches, in the folder XDSFolder; so are the clusters of a
// Generation, which is what a service's MeshService adds to the passthrough. Envoy
// reads clusters before listeners when it starts.
//
// This package is pure: it imports the standard library, and renders typed values.
package bootstrap

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/netip"
	"path"
	"slices"
	"time"
)

// Config is what one pod's Envoy depends on.
type Config struct {
	// Service is the identity of the pod's service; the others are the pod's, and may
	// be empty.
	Service, PodName, PodNamespace, NodeName string
	// Folder holds all files that are named below.
	Folder string
	// InboundPort and OutboundPort take redirected connections.
	InboundPort, OutboundPort uint16
	// IPv4 and IPv6 say which families can be listened on. One of them is set.
	IPv4, IPv6 bool
	// MemoryLimit in bytes is what the overload manager keeps below; 0 for none.
	MemoryLimit int64
	// MaxConnections is how many connections may come in and go out together, from
	// the limit of open files; 0 for no bound.
	MaxConnections uint32
	// UpstreamAge, UpstreamIdle and DownstreamAge are those of lifecycle.Run.
	UpstreamAge, UpstreamIdle, DownstreamAge time.Duration
	// DrainTime is how long pods of this mesh drain.
	DrainTime time.Duration
	// AccessLog writes JSON lines to standard output.
	AccessLog bool
	// APIServer is the address of kube-apiserver that the pod's containers are told, to which
	// Kubernetes clients connect; the zero Addr where they are told none, or a name.
	APIServer netip.Addr
	// Generation of the service's MeshService; nil passes everything through.
	Generation *Generation
}

// Names in Config.Folder. Envoy takes one route configuration from a file.
const (
	BootstrapFile      = "bootstrap.json"
	AdminSocket        = "admin.sock"
	XDSFolder          = "xds"
	ClustersFile       = XDSFolder + "/cds.json"
	ListenersFile      = XDSFolder + "/lds.json"
	InboundRoutesFile  = XDSFolder + "/rds-" + Inbound + ".json"
	OutboundRoutesFile = XDSFolder + "/rds-" + Outbound + ".json"
)

// PortRoutesFile has the routes of an inbound port of a generation.
func PortRoutesFile(port uint16) string { return routesFile(portRoutes(port)) }

// Inbound and Outbound are the names of the listeners, of their route configurations
// and the prefix of their statistics.
const (
	Inbound  = "inbound"
	Outbound = "outbound"
)

// DrainingRuntimeKey makes inbound Envoy tell clients by DrainingHeader that the pod
// drains, where it is set to 100 on the admin interface.
const (
	DrainingRuntimeKey = "pillion.draining"
	DrainingHeader     = "x-pillion-draining"
)

// AdminPaths are those that the admin interface answers; all others get 403.
func AdminPaths() []string {
	return []string{
		"/ready", "/server_info", "/listeners", "/clusters", "/config_dump", "/stats", "/stats/prometheus", "/runtime",
		"/drain_listeners", "/runtime_modify",
	}
}

// File is one of those that Envoy starts with.
type File struct {
	// Name is relative to Config.Folder.
	Name    string
	Content []byte
}

// New renders the configuration, in an order in which each file refers only to those
// before it. The same Config gives the same bytes.
func New(c Config) []File {
	files := []File{
		{ClustersFile, NewClusters(c.Version(), c.startClusters())},
		{InboundRoutesFile, discovered(c, c.inboundRoutes(Inbound, toward(InboundPassthrough)))},
	}
	// A file for each port, so that a timeout changes without draining connections.
	ofPorts := c.inboundPortRoutes()
	for _, name := range slices.Sorted(maps.Keys(ofPorts)) {
		files = append(files, File{routesFile(name), discovered(c, routesOf(ofPorts[name]))})
	}
	return append(files,
		File{OutboundRoutesFile, discovered(c, c.outboundRoutes())},
		File{ListenersFile, discovered(c, c.inbound(), c.outbound())},
		File{BootstrapFile, render(c.bootstrap())},
	)
}

// Version is what Envoy says of all that it has read of this configuration.
func (c Config) Version() string {
	if c.Generation == nil {
		return builtIn
	}
	return c.Generation.Version
}

func discovered[T any](c Config, resources ...T) []byte {
	return render(discovery[T]{c.Version(), resources})
}

// builtIn is the version of what this package renders without a generation.
const builtIn = "built-in"

// render cannot fail: the types below have nothing that JSON cannot hold.
func render(value any) []byte {
	rendered, err := json.MarshalIndent(value, "", " ")
	if err != nil {
		panic(fmt.Sprintf("rendering a %T: %v", value, err))
	}
	return append(rendered, '\n')
}

func (c Config) bootstrap() bootstrap {
	return bootstrap{
		Node: node{
			ID: c.nodeID(), Cluster: c.Service,
			Metadata: map[string]string{"service": c.Service, "pod": c.PodName, "namespace": c.PodNamespace, "node": c.NodeName},
		},
		Admin: admin{
			Address:    address{Pipe: &pipe{Path: path.Join(c.Folder, AdminSocket), Mode: 0o600}},
			AllowPaths: allowedPaths(),
		},
		DynamicResources: dynamicResources{CDS: c.watch(ClustersFile), LDS: c.watch(ListenersFile)},
		StaticResources:  staticResources{Clusters: c.clusters()},
		// The admin layer is what `pillion-proxy drain` writes to.
		LayeredRuntime: layeredRuntime{Layers: []runtimeLayer{{Name: "admin", AdminLayer: &struct{}{}}}},
		Overload:       c.overloadManager(),
		Stats:          statsConfig{Matcher: statsMatcher{Inclusion: patterns{keptStats()}}},
		DeferredStats:  deferredStats{Enable: true},
		DNS:            resolver(),
	}
}

// nodeID is "namespace/pod", or the service where the pod is not known.
func (c Config) nodeID() string {
	if c.PodName == "" {
		return c.Service
	}
	return c.PodNamespace + "/" + c.PodName
}

// watch reads a file, and again whenever another is moved to its name. With a watched
// directory Envoy would read all files for each that is moved, in an order of its own.
func (c Config) watch(file string) configSource {
	return configSource{APIVersion: "V3", Path: &pathConfigSource{path.Join(c.Folder, file)}}
}

// allowedPaths are AdminPaths with and without a query, which Envoy compares as well.
func allowedPaths() []stringMatcher {
	var allowed []stringMatcher
	for _, path := range AdminPaths() {
		allowed = append(allowed, stringMatcher{Exact: path}, stringMatcher{Prefix: path + "?"})
	}
	return allowed
}

// keptStats are all that Envoy makes: those of things that answer "is it the mesh or
// my app?", and those that pillion-proxy itself reads. Everything else would cost
// memory for each cluster.
func keptStats() []stringMatcher {
	kept := []stringMatcher{
		{Prefix: "server."}, {Prefix: "cluster_manager."}, {Prefix: "listener_manager."}, {Prefix: "overload."},
	}
	for _, direction := range [...]string{Inbound, Outbound} {
		kept = append(kept,
			stringMatcher{Prefix: "listener." + direction + "."},
			stringMatcher{Prefix: "http." + direction + "_http."},
			stringMatcher{Prefix: "tcp." + direction + "_tcp."},
		)
	}
	return append(kept, stringMatcher{Regex: &safeRegex{`inbound_[0-9]+\.http_local_rate_limit\.(ok|rate_limited)`}}, stringMatcher{Regex: &safeRegex{
		// No name has a dot, and Envoy counts requests from inside and outside once more each.
		`cluster\.[^.]+\.(upstream_rq_(total|active|[1-5]xx|time|timeout|per_try_timeout|retry|retry_success|retry_overflow|pending_overflow|active_overflow)|upstream_cx_(total|active|overflow|connect_fail|connect_timeout|destroy_remote_with_active_rq)|membership_(healthy|total)|warming_state|update_success|outlier_detection\.ejections_(active|enforced_total))`,
	}})
}

// resolver answers for declared destinations. A resolver that does not answer costs
// two seconds a try, and nobody waits for it at the start.
func resolver() *extension {
	return &extension{
		Name:   "envoy.network.dns_resolver.cares",
		Config: caresConfig{Type: "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig", QueryTimeoutSeconds: 1, QueryTries: 2},
	}
}

// overloadManager sheds before the kernel kills: what it gives up first costs
// clients least.
func (c Config) overloadManager() *overloadManager {
	m := &overloadManager{RefreshInterval: "0.25s"}
	if c.MaxConnections > 0 {
		m.Monitors = append(m.Monitors, extension{
			Name: "envoy.resource_monitors.global_downstream_max_connections",
			Config: connectionsMonitor{
				Type: "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
				Max:  int64(c.MaxConnections),
			},
		})
	}
	if c.MemoryLimit > 0 {
		m.Monitors = append(m.Monitors, extension{
			Name: heapMonitor,
			// Envoy counts its heap; its code, its stacks and the kernel's buffers count
			// towards the limit as well.
			Config: fixedHeap{Type: "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig", Max: max(c.MemoryLimit/10*8, 1)},
		})
		m.Actions = []overloadAction{
			heapAction("envoy.overload_actions.shrink_heap", trigger{Threshold: &threshold{0.80}}),
			heapAction("envoy.overload_actions.disable_http_keepalive", trigger{Threshold: &threshold{0.85}}),
			heapAction("envoy.overload_actions.reset_high_memory_stream", trigger{Scaled: &scaled{0.85, 0.95}}),
			heapAction("envoy.overload_actions.stop_accepting_requests", trigger{Threshold: &threshold{0.95}}),
			heapAction("envoy.overload_actions.stop_accepting_connections", trigger{Threshold: &threshold{0.98}}),
		}
		m.BufferFactory = &bufferFactory{MinimumAccountPowerOfTwo: 20}
	}
	if m.Monitors == nil {
		return nil
	}
	return m
}

const heapMonitor = "envoy.resource_monitors.fixed_heap"

func heapAction(name string, when trigger) overloadAction {
	when.Name = heapMonitor
	return overloadAction{Name: name, Triggers: []trigger{when}}
}
