package bootstrap

import (
	"encoding/json"
	"slices"
	"time"
)

const (
	// A listener waits for a client's first bytes, to see whether they are HTTP, and
	// passes a connection on as TCP if there are none. A server that speaks first stalls
	// for that long at each Envoy on the way, so for less than a second at both. Inbound
	// gets the larger part: what another sidecar takes for HTTP and this one does not is
	// never told that the pod drains.
	outboundDetection = 200 * time.Millisecond
	inboundDetection  = 700 * time.Millisecond
	// clientIdle is how long a client's HTTP connection to the pod is kept without a
	// request.
	clientIdle = time.Hour
	// drainSequence is how long HTTP/2 clients have between the first GOAWAY and the
	// last.
	drainSequence = 5 * time.Second
)

// appClientIdle is how long an HTTP connection that the app opened is kept without a
// request. The app cannot see when the pod behind it goes away. One that it uses more
// often than this is told while that pod drains; one that it uses less often is
// closed before. It is less than half of the drain, since a client with several
// connections may take them in turns, and no number of seconds that an app would use
// a connection every so often.
func (c Config) appClientIdle() time.Duration {
	return max(c.DrainTime*15/32, time.Second)
}

type listener struct {
	Name                string          `json:"name"`
	StatPrefix          string          `json:"stat_prefix"`
	TrafficDirection    string          `json:"traffic_direction"`
	Address             address         `json:"address"`
	AdditionalAddresses []listenAddress `json:"additional_addresses,omitempty"`
	FiltersTimeout      string          `json:"listener_filters_timeout"`
	ContinueOnTimeout   bool            `json:"continue_on_listener_filters_timeout"`
	ListenerFilters     []extension     `json:"listener_filters"`
	FilterChains        []filterChain   `json:"filter_chains"`
	DefaultFilterChain  filterChain     `json:"default_filter_chain"`
	BindToPort          *bool           `json:"bind_to_port,omitempty"`
	SocketOptions       []socketOption  `json:"socket_options,omitempty"`
}

type listenAddress struct {
	Address address `json:"address"`
}

type socketOption struct {
	Description string `json:"description"`
	Level       int    `json:"level"`
	Name        int    `json:"name"`
	IntValue    int    `json:"int_value"`
	State       string `json:"state"`
}

type filterChain struct {
	Name    string            `json:"name"`
	Match   *filterChainMatch `json:"filter_chain_match,omitempty"`
	Filters []extension       `json:"filters"`
}

type filterChainMatch struct {
	DestinationPort      uint16      `json:"destination_port,omitempty"`
	PrefixRanges         []cidrRange `json:"prefix_ranges,omitempty"`
	ServerNames          []string    `json:"server_names,omitempty"`
	TransportProtocol    string      `json:"transport_protocol,omitempty"`
	ApplicationProtocols []string    `json:"application_protocols,omitempty"`
}

type cidrRange struct {
	Address string `json:"address_prefix"`
	Length  int    `json:"prefix_len"`
}

// inbound takes what comes to the pod, on all of its addresses.
func (c Config) inbound() typed[listener] {
	at := address{Socket: &socketAddress{Address: "0.0.0.0", Port: c.InboundPort}}
	if c.IPv6 {
		at.Socket = &socketAddress{Address: "::", Port: c.InboundPort, IPv4Compat: c.IPv4}
	}
	return c.listener(Inbound, "INBOUND", c.InboundPort, c.tcpProxy(Inbound, InboundPassthrough), at, nil, c.inboundChains())
}

// outbound takes what the pod's own processes open. The kernel leads it to the
// loopback address, so nobody else can reach it: Envoy is no open proxy.
func (c Config) outbound() typed[listener] {
	at := address{Socket: &socketAddress{Address: "127.0.0.1", Port: c.OutboundPort}}
	v6 := address{Socket: &socketAddress{Address: "::1", Port: c.OutboundPort}}
	var more []listenAddress
	switch {
	case c.IPv4 && c.IPv6:
		more = []listenAddress{{v6}}
	case c.IPv6:
		at = v6
	}
	others := c.tcpProxy(Outbound, OutboundPassthrough)
	if c.Generation != nil && c.Generation.Outbound.RefuseUndeclared != "" {
		// An HTTP client may be silent for longer than Envoy looks at its connection. What is
		// no HTTP after all is answered 400, and closed.
		others = c.httpConnectionManager(Outbound, c.passthroughHTTP(Outbound))
	}
	return c.listener(Outbound, "OUTBOUND", c.OutboundPort, others, at, more, c.outboundChains())
}

// listener has chains for single ports, and those for all others: HTTP, and a filter for
// the rest.
func (c Config) listener(name, direction string, port uint16, others extension, at address, more []listenAddress, ofPorts []filterChain) typed[listener] {
	detection := outboundDetection
	if name == Inbound {
		detection = inboundDetection
	}
	return typed[listener]{"type.googleapis.com/envoy.config.listener.v3.Listener", listener{
		Name: name, StatPrefix: name, TrafficDirection: direction, Address: at, AdditionalAddresses: more,
		FiltersTimeout: seconds(detection), ContinueOnTimeout: true,
		ListenerFilters: []extension{
			listenerFilter("original_dst", "original_dst.v3.OriginalDst"),
			listenerFilter("tls_inspector", "tls_inspector.v3.TlsInspector"),
			listenerFilter("http_inspector", "http_inspector.v3.HttpInspector"),
		},
		FilterChains: slices.Concat([]filterChain{
			// A connection that nobody redirected was meant for Envoy itself: passing it on
			// to its destination would lead it here again, for ever.
			{Name: "not redirected", Match: &filterChainMatch{DestinationPort: port}, Filters: []extension{c.tcpProxy(name, Blackhole)}},
		}, ofPorts, []filterChain{{Name: "http", Match: httpMatch(0), Filters: []extension{c.httpConnectionManager(name, c.passthroughHTTP(name))}}}),
		DefaultFilterChain: filterChain{Name: "tcp", Filters: []extension{others}},
		SocketOptions:      keepaliveOptions(),
	}}
}

// httpMatch matches HTTP in the clear to a port; 0 stands for any.
func httpMatch(port uint16) *filterChainMatch {
	return &filterChainMatch{DestinationPort: port, TransportProtocol: rawBuffer, ApplicationProtocols: []string{"http/1.0", "http/1.1", "h2c"}}
}

// Envoy's names for what is no TLS and for what is.
const (
	rawBuffer = "raw_buffer"
	isTLS     = "tls"
)

// keepaliveOptions are keepalive() for the connections that a listener accepts, which
// take them over from its socket (Linux' numbers).
func keepaliveOptions() []socketOption {
	const solSocket, soKeepalive, solTCP, tcpKeepIdle, tcpKeepInterval, tcpKeepCount = 1, 9, 6, 4, 5, 6
	k := keepalive()
	option := func(description string, level, name, value int) socketOption {
		return socketOption{description, level, name, value, "STATE_LISTENING"}
	}
	return []socketOption{
		option("SO_KEEPALIVE", solSocket, soKeepalive, 1), option("TCP_KEEPIDLE", solTCP, tcpKeepIdle, k.Time),
		option("TCP_KEEPINTVL", solTCP, tcpKeepInterval, k.Interval), option("TCP_KEEPCNT", solTCP, tcpKeepCount, k.Probes),
	}
}

func listenerFilter(name, message string) extension {
	return extension{"envoy.filters.listener." + name, messageType{"type.googleapis.com/envoy.extensions.filters.listener." + message}}
}

type tcpProxy struct {
	Type        string      `json:"@type"`
	StatPrefix  string      `json:"stat_prefix"`
	Cluster     string      `json:"cluster"`
	IdleTimeout string      `json:"idle_timeout"`
	AccessLog   []extension `json:"access_log,omitempty"`
}

// tcpProxy passes bytes on, for as long as the two ends like.
func (c Config) tcpProxy(direction, to string) extension {
	return extension{"envoy.filters.network.tcp_proxy", tcpProxy{
		Type: "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", StatPrefix: direction + "_tcp", Cluster: to,
		IdleTimeout: seconds(0), AccessLog: c.accessLog(direction),
	}}
}

type httpConnectionManager struct {
	Type                string              `json:"@type"`
	StatPrefix          string              `json:"stat_prefix"`
	CodecType           string              `json:"codec_type"`
	RDS                 *rds                `json:"rds,omitempty"`
	Routes              *routeConfiguration `json:"route_config,omitempty"`
	EarlyMutations      []extension         `json:"early_header_mutation_extensions"`
	HTTPFilters         []any               `json:"http_filters"`
	HTTP1               http1Options        `json:"http_protocol_options"`
	HTTP2               http2Options        `json:"http2_protocol_options"`
	Common              commonOptions       `json:"common_http_protocol_options"`
	SafeAge             bool                `json:"http1_safe_max_connection_duration"`
	DrainTimeout        string              `json:"drain_timeout"`
	StreamIdleTimeout   string              `json:"stream_idle_timeout"`
	MaxRequestHeadersKB int                 `json:"max_request_headers_kb"`
	Upgrades            []upgrade           `json:"upgrade_configs"`
	ServerHeader        string              `json:"server_header_transformation"`
	GenerateRequestID   bool                `json:"generate_request_id"`
	PreserveRequestID   bool                `json:"preserve_external_request_id"`
	SkipXFFAppend       bool                `json:"skip_xff_append"`
	ForwardClientCert   string              `json:"forward_client_cert_details"`
	Proxy100Continue    bool                `json:"proxy_100_continue"`
	LocalReplies        *localReplies       `json:"local_reply_config"`
	AccessLog           []extension         `json:"access_log,omitempty"`
}

type commonOptions struct {
	IdleTimeout           string `json:"idle_timeout"`
	MaxConnectionDuration string `json:"max_connection_duration,omitempty"`
	MaxHeadersCount       int    `json:"max_headers_count"`
}

type rds struct {
	Name   string       `json:"route_config_name"`
	Source configSource `json:"config_source"`
}

type upgrade struct {
	Type string `json:"upgrade_type"`
}

// httpOptions are what differs between the ports of a listener.
type httpOptions struct {
	routes  string // the name of their route configuration
	streams uint32
	age     time.Duration // of inbound connections
	filters []json.RawMessage
}

// passthroughHTTP is for the ports that no generation says anything about.
func (c Config) passthroughHTTP(direction string) httpOptions {
	return httpOptions{routes: direction, streams: maxStreams, age: c.DownstreamAge}
}

func (c Config) httpConnectionManager(direction string, of httpOptions) extension {
	h := httpConnectionManager{
		Type:       "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
		StatPrefix: direction + "_http", CodecType: "AUTO",
		RDS:            &rds{of.routes, c.watch(routesFile(of.routes))},
		EarlyMutations: []extension{earlyMutations(direction)},
		HTTP1:          http1(), HTTP2: http2Options{MaxConcurrentStreams: of.streams},
		Common:       commonOptions{IdleTimeout: seconds(clientIdle), MaxHeadersCount: maxHeaders},
		DrainTimeout: seconds(drainSequence), StreamIdleTimeout: seconds(0), MaxRequestHeadersKB: maxHeadersKB,
		// What Kubernetes' and Docker's own clients ask for, beside WebSocket.
		Upgrades:     []upgrade{{"websocket"}, {"spdy/3.1"}, {"tcp"}, {"CONNECT"}},
		ServerHeader: "PASS_THROUGH", PreserveRequestID: true, SkipXFFAppend: true, Proxy100Continue: true,
		// An ingress in front of the pod says which certificate its client had.
		ForwardClientCert: "ALWAYS_FORWARD_ONLY",
		LocalReplies:      grpcTimeouts(), AccessLog: c.accessLog(direction),
	}
	// Apache's HttpClient, from 5.4 on, offers TLS with each request. Servers that do not
	// want it go on as if they had not been asked; Envoy alone would answer 403.
	h.HTTP1.IgnoredUpgrades = []stringMatcher{{Prefix: "TLS/"}}
	// HTTP/1.0 knows no Host header, without which Envoy would refuse it.
	h.HTTP1.AcceptHTTP10, h.HTTP1.HostForHTTP10 = true, "localhost"
	router := routerConfig{Type: "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"}
	if direction == Inbound {
		// Told before the client's side of the same age has come, a client never
		// sends on a connection that is about to close.
		h.Common.MaxConnectionDuration, h.SafeAge = bound(of.age), true
		router.SuppressEnvoyHeaders = true
	} else {
		h.Common.IdleTimeout = seconds(c.appClientIdle())
		h.HTTPFilters = append(h.HTTPFilters, recovery())
	}
	for _, filter := range of.filters {
		h.HTTPFilters = append(h.HTTPFilters, filter)
	}
	h.HTTPFilters = append(h.HTTPFilters, extension{"envoy.filters.http.router", router})
	return extension{"envoy.filters.network.http_connection_manager", h}
}

type routerConfig struct {
	Type                 string `json:"@type"`
	SuppressEnvoyHeaders bool   `json:"suppress_envoy_headers,omitempty"`
}

type lua struct {
	Type   string     `json:"@type"`
	Source dataSource `json:"default_source_code"`
}

type dataSource struct {
	Inline string `json:"inline_string"`
}

// recoveryScript ends a client's connection behind a response that says that its
// destination is gone or about to go, so that the client asks DNS again. Without it
// the client, whose own connection ends at this Envoy, would never notice. A 503
// without a time that the upstream took is Envoy's own; gRPC clients get 14,
// UNAVAILABLE, in its place. Of a declared destination that says nothing of the client's
// address, since Envoy asks DNS itself: it is a limit's, or nobody is there.
const recoveryScript = `function envoy_on_response(handle)
  local headers = handle:headers()
  local unavailable = headers:get(":status") == "503" or headers:get("grpc-status") == "14"
  local own = unavailable and headers:get("x-envoy-upstream-service-time") == nil
  if own then
    own = handle:streamInfo():routeName() == "` + PassthroughRoute + `"
  end
  if own or headers:get("connection") == "close" or headers:get("` + DrainingHeader + `") ~= nil then
    handle:streamInfo():drainConnectionUponCompletion()
  end
  headers:remove("x-envoy-upstream-service-time")
  headers:remove("` + DrainingHeader + `")
end
`

func recovery() extension {
	return extension{"envoy.filters.http.lua", lua{"type.googleapis.com/envoy.extensions.filters.http.lua.v3.Lua", dataSource{recoveryScript}}}
}

type stdoutLog struct {
	Type   string    `json:"@type"`
	Format logFormat `json:"log_format"`
}

type logFormat struct {
	JSON map[string]string `json:"json_format"`
}

// accessLog is one line of JSON for each request or TCP connection, with the names
// that Envoy has for its fields.
func (c Config) accessLog(direction string) []extension {
	if !c.AccessLog {
		return nil
	}
	return []extension{{"envoy.access_loggers.stdout", stdoutLog{
		Type: "type.googleapis.com/envoy.extensions.access_loggers.stream.v3.StdoutAccessLog",
		Format: logFormat{map[string]string{
			"direction": direction, "start_time": "%START_TIME%", "protocol": "%PROTOCOL%",
			"method": "%REQ(:METHOD)%", "path": "%REQ(:PATH)%", "authority": "%REQ(:AUTHORITY)%",
			"response_code": "%RESPONSE_CODE%", "response_code_details": "%RESPONSE_CODE_DETAILS%", "response_flags": "%RESPONSE_FLAGS%",
			"grpc_status": "%GRPC_STATUS%", "duration_ms": "%DURATION%", "bytes_received": "%BYTES_RECEIVED%", "bytes_sent": "%BYTES_SENT%",
			"upstream_host": "%UPSTREAM_HOST%", "upstream_failure": "%UPSTREAM_TRANSPORT_FAILURE_REASON%",
			"downstream_remote_address": "%DOWNSTREAM_REMOTE_ADDRESS%", "downstream_local_address": "%DOWNSTREAM_LOCAL_ADDRESS%",
		}},
	}}}
}
