package bootstrap

import (
	"math"
	"strconv"
	"time"
)

// The clusters that are always there.
const (
	OutboundPassthrough = "outbound_passthrough"
	// OutboundGRPC is the passthrough of gRPC, and the same as the other one in statistics.
	OutboundGRPC       = "outbound_passthrough_grpc"
	InboundPassthrough = "inbound_passthrough"
	// Blackhole has no endpoint: a connection that is sent there is closed.
	Blackhole = "blackhole"
)

const (
	// appIdle is how long a connection from Envoy to the pod's own app lies unused.
	// A new one over lo costs some ten microseconds, so it is below every keep-alive
	// that servers usually have: a request never meets a connection that the app is
	// about to close.
	appIdle = time.Second
	// connectTimeout is no shorter than an app's own would be: it is the app that
	// waits.
	connectTimeout = 5 * time.Second
	// maxStreams and noLimit are the largest that the protocol and Envoy take.
	maxStreams = math.MaxInt32
	noLimit    = math.MaxUint32
	// maxHeaders and maxHeadersKB are above what servers usually take; Envoy's own
	// defaults, 100 and 60 KiB, are below.
	maxHeaders   = 1000
	maxHeadersKB = 1024
)

type cluster struct {
	Name             string             `json:"name"`
	StatName         string             `json:"alt_stat_name,omitempty"`
	DiscoveryType    string             `json:"type"`
	LBPolicy         string             `json:"lb_policy,omitempty"`
	ConnectTimeout   string             `json:"connect_timeout"`
	CircuitBreakers  *circuitBreakers   `json:"circuit_breakers,omitempty"`
	Protocols        *protocols         `json:"typed_extension_protocol_options,omitempty"`
	ConnectionOption *upstreamKeepalive `json:"upstream_connection_options,omitempty"`
	Bind             *bindConfig        `json:"upstream_bind_config,omitempty"`
}

// bindConfig without an address binds to none.
type bindConfig struct {
	SocketOptions []socketOption `json:"socket_options"`
}

type circuitBreakers struct {
	Thresholds []breaker `json:"thresholds"`
}

type breaker struct {
	Priority           string `json:"priority"`
	MaxConnections     uint32 `json:"max_connections"`
	MaxPendingRequests uint32 `json:"max_pending_requests"`
	MaxRequests        uint32 `json:"max_requests"`
	MaxRetries         uint32 `json:"max_retries"`
}

type protocols struct {
	HTTP httpProtocolOptions `json:"envoy.extensions.upstreams.http.v3.HttpProtocolOptions"`
}

type httpProtocolOptions struct {
	Type          string             `json:"@type"`
	Common        commonHTTPOptions  `json:"common_http_protocol_options"`
	UseDownstream downstreamProtocol `json:"use_downstream_protocol_config"`
}

type commonHTTPOptions struct {
	IdleTimeout           string `json:"idle_timeout,omitempty"`
	MaxConnectionDuration string `json:"max_connection_duration,omitempty"`
	MaxHeadersCount       int    `json:"max_headers_count"`
	MaxResponseHeadersKB  int    `json:"max_response_headers_kb,omitempty"`
}

type downstreamProtocol struct {
	HTTP1 http1Options `json:"http_protocol_options"`
	HTTP2 http2Options `json:"http2_protocol_options"`
}

type http1Options struct {
	HeaderKeyFormat    headerKeyFormat `json:"header_key_format"`
	AcceptHTTP10       bool            `json:"accept_http_10,omitempty"`
	HostForHTTP10      string          `json:"default_host_for_http_10,omitempty"`
	EnableTrailers     bool            `json:"enable_trailers"`
	AllowChunkedLength bool            `json:"allow_chunked_length,omitempty"`
	IgnoredUpgrades    []stringMatcher `json:"ignore_http_11_upgrade,omitempty"`
}

type headerKeyFormat struct {
	Formatter extension `json:"stateful_formatter"`
}

type preserveCase struct {
	Type                string `json:"@type"`
	ForwardReasonPhrase bool   `json:"forward_reason_phrase"`
}

type http2Options struct {
	MaxConcurrentStreams uint32 `json:"max_concurrent_streams,omitempty"`
}

type upstreamKeepalive struct {
	TCP tcpKeepalive `json:"tcp_keepalive"`
}

// tcpKeepalive is in seconds, but for the number of probes.
type tcpKeepalive struct {
	Probes   int `json:"keepalive_probes"`
	Time     int `json:"keepalive_time"`
	Interval int `json:"keepalive_interval"`
}

func (c Config) clusters() []cluster {
	of := func(name string) cluster { return passthrough(name, seconds(c.UpstreamIdle), bound(c.upstreamAge())) }
	grpc := of(OutboundGRPC)
	grpc.StatName, grpc.Bind = OutboundPassthrough, &bindConfig{[]socketOption{userTimeout()}}
	return []cluster{
		of(OutboundPassthrough), grpc,
		passthrough(InboundPassthrough, seconds(appIdle), ""),
		{Name: Blackhole, DiscoveryType: "STATIC", ConnectTimeout: seconds(connectTimeout)},
	}
}

// upstreamAge is how old a connection gets that Envoy opened for the app; 0 for any age. One
// that was opened for a request which another connection then took lies unused at first. The
// other pod's Envoy takes it for TCP when that lasts, and tells nobody of a drain by it, so
// it has to go before half of a drain is over.
func (c Config) upstreamAge() time.Duration {
	return min(c.UpstreamAge, c.appClientIdle())
}

// passthrough connects to where the client wanted to go. Nothing limits how many
// connections or requests that may be: a breaker that nobody asked for drops traffic.
func passthrough(name, idle, age string) cluster {
	var breakers circuitBreakers
	for _, priority := range [...]string{"DEFAULT", "HIGH"} {
		breakers.Thresholds = append(breakers.Thresholds, breaker{priority, noLimit, noLimit, noLimit, noLimit})
	}
	// Some servers answer with both Content-Length and chunks. Envoy drops the length,
	// as HTTP says; a request with both stays an error, since that smuggles requests.
	answers := http1()
	answers.AllowChunkedLength = true
	return cluster{
		Name: name, DiscoveryType: "ORIGINAL_DST", LBPolicy: "CLUSTER_PROVIDED", ConnectTimeout: seconds(connectTimeout),
		CircuitBreakers: &breakers,
		Protocols: &protocols{httpProtocolOptions{
			Type: "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
			Common: commonHTTPOptions{
				IdleTimeout: idle, MaxConnectionDuration: age, MaxHeadersCount: maxHeaders, MaxResponseHeadersKB: maxHeadersKB,
			},
			// What the client spoke is what the server understands.
			UseDownstream: downstreamProtocol{HTTP1: answers},
		}},
		ConnectionOption: &upstreamKeepalive{keepalive()},
	}
}

// http1 keeps what HTTP/1 says as the app said it, the reason behind a status too.
func http1() http1Options {
	return http1Options{
		EnableTrailers: true,
		HeaderKeyFormat: headerKeyFormat{extension{
			Name:   "preserve_case",
			Config: preserveCase{"type.googleapis.com/envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig", true},
		}},
	}
}

type messageType struct {
	Type string `json:"@type"`
}

// keepalive finds a peer that is gone in 45 s.
func keepalive() tcpKeepalive { return tcpKeepalive{Probes: 3, Time: 30, Interval: 5} }

// userTimeout finds one that is gone in the same time while something is under way to it,
// when the kernel sends no probes: without it a connection lives for a quarter of an hour
// then. An HTTP/2 client sends one request after the other on it, and what gRPC clients
// find it out with themselves ends at this Envoy. It is for gRPC and HTTP/2 alone: it also
// ends a connection to a server that is there and does not read for so long, as servers
// that are told to wait do, and those of HTTP/2 tell their clients to wait in another way.
func userTimeout() socketOption {
	const solTCP, tcpUserTimeout = 6, 18
	k := keepalive()
	return socketOption{"TCP_USER_TIMEOUT", solTCP, tcpUserTimeout, 1000 * (k.Time + k.Probes*k.Interval), "STATE_PREBIND"}
}

// seconds is a duration as protobuf's JSON has it; "0s" switches a timeout off.
func seconds(d time.Duration) string {
	return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) + "s"
}

// bound is seconds, or nothing for a limit that must be left out to be none.
func bound(d time.Duration) string {
	if d == 0 {
		return ""
	}
	return seconds(d)
}
