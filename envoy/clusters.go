package envoy

import (
	"math"
	"time"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	endpointv3 "github.com/envoyproxy/go-control-plane/envoy/config/endpoint/v3"
	aggregatev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/aggregate/v3"
	familyv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/common/dns/v3"
	dnsv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/clusters/dns/v3"
	preservecasev3 "github.com/envoyproxy/go-control-plane/envoy/extensions/http/header_formatters/preserve_case/v3"
	upstreamv3 "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	typev3 "github.com/envoyproxy/go-control-plane/envoy/type/v3"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/mesh"
)

const (
	// noLimit is the largest that Envoy takes.
	noLimit = math.MaxUint32
	// minRetries may be under way whatever the budget says: 20 % of one request is none.
	minRetries = 3
	// usualBudget is that of a destination with retries, in percent.
	usualBudget = 20
	// appIdle and appConnect are those of the passthrough to the app.
	appIdle, appConnect = time.Second, 5 * time.Second
)

// destinationCluster is everything that is about a destination's connections.
func destinationCluster(d mesh.Destination) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		ConnectTimeout:            seconds(d.ConnectTimeout),
		CircuitBreakers:           breakers(limits{d.MaxConnections, d.MaxPending, d.MaxRequests}, retryBudget(d.Retries.BudgetPercent)),
		UpstreamConnectionOptions: keepalive(),
	}
	if !d.Protocol.IsHTTP() {
		// The name that the app called is not known for certain, only the address.
		originalDestination(c)
		return c
	}
	c.ClusterDiscoveryType = &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
		Name: "envoy.clusters.dns", TypedConfig: packed(dns(d)),
	}}
	c.LbPolicy = clusterv3.Cluster_LEAST_REQUEST
	c.LoadAssignment = &endpointv3.ClusterLoadAssignment{ClusterName: d.Name, Endpoints: []*endpointv3.LocalityLbEndpoints{{
		LbEndpoints: []*endpointv3.LbEndpoint{{HostIdentifier: &endpointv3.LbEndpoint_Endpoint{Endpoint: &endpointv3.Endpoint{Address: &corev3.Address{
			Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{
				Address: d.Address, PortSpecifier: &corev3.SocketAddress_PortValue{PortValue: uint32(d.Port)},
			}},
		}}}}},
	}}}
	options := upstreamProtocol(d.Protocol)
	options.CommonHttpProtocolOptions = httpOptions(d.IdleTimeout, d.MaxConnectionAge)
	c.TypedExtensionProtocolOptions = protocolOptions(options)
	if d.Outliers.ConsecutiveErrors > 0 {
		c.OutlierDetection = outliers(d.Outliers)
		c.CommonLbConfig = &clusterv3.Cluster_CommonLbConfig{HealthyPanicThreshold: &typev3.Percent{Value: float64(panicBelow(d.Outliers))}}
	}
	if d.Protocol == mesh.HTTP2 || d.Protocol == mesh.GRPC {
		c.UpstreamBindConfig = userTimeout()
	}
	return c
}

// dns asks for all addresses of a name. A name that could not be found is asked for
// again within a second, since requests are failing meanwhile.
func dns(d mesh.Destination) *dnsv3.DnsCluster {
	failed := min(time.Second, d.DNSRefresh)
	return &dnsv3.DnsCluster{
		DnsRefreshRate:        seconds(d.DNSRefresh),
		DnsFailureRefreshRate: &dnsv3.DnsCluster_RefreshRate{BaseInterval: seconds(failed), MaxInterval: seconds(d.DNSRefresh)},
		// A pod that has no IPv6 must not be led to an address of it.
		DnsLookupFamily: familyv3.DnsLookupFamily_V4_PREFERRED,
	}
}

// inboundCluster leads to the app as the passthrough does, with limits.
func inboundCluster(p mesh.Inbound) *clusterv3.Cluster {
	c := &clusterv3.Cluster{
		ConnectTimeout:            seconds(appConnect),
		CircuitBreakers:           breakers(limits{connections: p.MaxConnections, requests: p.MaxRequests}, nil),
		UpstreamConnectionOptions: keepalive(),
	}
	originalDestination(c)
	// For a port of protocol TCP, too: one that was HTTP until now changes its cluster first,
	// and requests of its old connections still come through it.
	options := upstreamProtocol(mesh.HTTP)
	options.CommonHttpProtocolOptions = httpOptions(appIdle, 0)
	// What several clients send, Envoy puts on one connection to the app, as many streams
	// as the app says that it takes: the limit is for this connection, too.
	options.GetUseDownstreamProtocolConfig().GetHttp2ProtocolOptions().MaxConcurrentStreams = streams(p.MaxStreams)
	c.TypedExtensionProtocolOptions = protocolOptions(options)
	return c
}

// streams of one HTTP/2 connection, 0 for as many as the server says.
func streams(most uint32) *wrapperspb.UInt32Value {
	if most == 0 {
		return nil
	}
	return number(most)
}

func originalDestination(c *clusterv3.Cluster) {
	c.ClusterDiscoveryType = &clusterv3.Cluster_Type{Type: clusterv3.Cluster_ORIGINAL_DST}
	c.LbPolicy = clusterv3.Cluster_CLUSTER_PROVIDED
}

// fallbackCluster is the first of two clusters that has addresses. Retries are counted
// here, requests where they go: a budget in percent of the requests would be one of
// nothing, and all requests may fall back at the same time.
func fallbackCluster(first, second string) *clusterv3.Cluster {
	return &clusterv3.Cluster{
		ClusterDiscoveryType: &clusterv3.Cluster_ClusterType{ClusterType: &clusterv3.Cluster_CustomClusterType{
			Name: "envoy.clusters.aggregate", TypedConfig: packed(&aggregatev3.ClusterConfig{Clusters: []string{first, second}}),
		}},
		LbPolicy:        clusterv3.Cluster_CLUSTER_PROVIDED,
		ConnectTimeout:  seconds(appConnect),
		CircuitBreakers: breakers(limits{}, nil),
	}
}

// limits of what is under way, 0 for none.
type limits struct{ connections, pending, requests uint32 }

// breakers write every limit: Envoy has some of its own, which drop requests that nobody
// wanted dropped. Without a budget there may be any number of retries.
func breakers(l limits, budget *clusterv3.CircuitBreakers_Thresholds_RetryBudget) *clusterv3.CircuitBreakers {
	limit := func(n uint32) *wrapperspb.UInt32Value {
		if n == 0 {
			n = noLimit
		}
		return number(n)
	}
	thresholds := &clusterv3.CircuitBreakers_Thresholds{
		MaxConnections: limit(l.connections), MaxPendingRequests: limit(l.pending), MaxRequests: limit(l.requests), RetryBudget: budget,
	}
	if budget == nil {
		thresholds.MaxRetries = limit(0)
	}
	// They are those of the default priority, and no route here has another one.
	return &clusterv3.CircuitBreakers{Thresholds: []*clusterv3.CircuitBreakers_Thresholds{thresholds}}
}

// retryBudget is in percent of the requests under way. There is one where a destination
// has no retries, too: those of another one may be led here by a route.
func retryBudget(percentage uint32) *clusterv3.CircuitBreakers_Thresholds_RetryBudget {
	if percentage == 0 {
		percentage = usualBudget
	}
	return &clusterv3.CircuitBreakers_Thresholds_RetryBudget{BudgetPercent: percent(percentage), MinRetryConcurrency: number(minRetries)}
}

// sweep is how often Envoy looks whether an address may come back.
const sweep = 10 * time.Second

// outliers are found by failures in a row and nothing else: Envoy's own default also
// compares addresses with each other.
func outliers(o mesh.Outliers) *clusterv3.OutlierDetection {
	return &clusterv3.OutlierDetection{
		Consecutive_5Xx:  number(o.ConsecutiveErrors),
		Interval:         seconds(min(sweep, o.EjectionTime)),
		BaseEjectionTime: seconds(o.EjectionTime), MaxEjectionTime: seconds(max(10*o.EjectionTime, 5*time.Minute)),
		MaxEjectionPercent: number(o.MaxEjectedPercent), AlwaysEjectOneHost: wrapperspb.Bool(true),
		EnforcingSuccessRate: number(0), EnforcingConsecutiveGatewayFailure: number(0),
	}
}

// panicBelow is the percentage of addresses below which Envoy calls all of them again, those
// that were taken out as well. Its own, 50, would undo what more than half may be taken out
// for. It is never 0: when all are out, as the only one may be, all are called.
func panicBelow(o mesh.Outliers) uint32 { return max(1, min(50, 100-o.MaxEjectedPercent)) }

// keepalive finds a peer that is gone, as the passthrough does.
func keepalive() *clusterv3.UpstreamConnectionOptions {
	probes, idle, interval := bootstrap.Keepalive()
	return &clusterv3.UpstreamConnectionOptions{TcpKeepalive: &corev3.TcpKeepalive{
		KeepaliveProbes: number(probes), KeepaliveTime: number(idle), KeepaliveInterval: number(interval),
	}}
}

// userTimeout finds one that is gone while something is under way to it. Without an address
// it binds to none.
func userTimeout() *corev3.BindConfig {
	description, level, name, value := bootstrap.UserTimeout()
	return &corev3.BindConfig{SocketOptions: []*corev3.SocketOption{{
		Description: description, Level: level, Name: name, Value: &corev3.SocketOption_IntValue{IntValue: value}, State: corev3.SocketOption_STATE_PREBIND,
	}}}
}

func httpOptions(idle, age time.Duration) *corev3.HttpProtocolOptions {
	return &corev3.HttpProtocolOptions{
		IdleTimeout: seconds(idle), MaxConnectionDuration: bound(age),
		MaxHeadersCount: number(bootstrap.MaxHeaders), MaxResponseHeadersKb: number(bootstrap.MaxHeadersKB),
	}
}

func protocolOptions(options *upstreamv3.HttpProtocolOptions) map[string]*anypb.Any {
	return map[string]*anypb.Any{"envoy.extensions.upstreams.http.v3.HttpProtocolOptions": packed(options)}
}

// upstreamProtocol is what is spoken to a destination.
func upstreamProtocol(p mesh.Protocol) *upstreamv3.HttpProtocolOptions {
	// As the passthrough's: what the server says, to the letter, and servers that send
	// both a length and chunks.
	http1 := &corev3.Http1ProtocolOptions{
		EnableTrailers: true, AllowChunkedLength: true,
		HeaderKeyFormat: &corev3.Http1ProtocolOptions_HeaderKeyFormat{
			HeaderFormat: &corev3.Http1ProtocolOptions_HeaderKeyFormat_StatefulFormatter{StatefulFormatter: extension("preserve_case",
				&preservecasev3.PreserveCaseFormatterConfig{ForwardReasonPhrase: true})},
		},
	}
	http2 := &corev3.Http2ProtocolOptions{}
	switch p {
	case mesh.HTTP1:
		return explicit(&upstreamv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_HttpProtocolOptions{HttpProtocolOptions: http1},
		})
	case mesh.HTTP2, mesh.GRPC:
		return explicit(&upstreamv3.HttpProtocolOptions_ExplicitHttpConfig{
			ProtocolConfig: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_Http2ProtocolOptions{Http2ProtocolOptions: http2},
		})
	default:
		return &upstreamv3.HttpProtocolOptions{UpstreamProtocolOptions: &upstreamv3.HttpProtocolOptions_UseDownstreamProtocolConfig{
			UseDownstreamProtocolConfig: &upstreamv3.HttpProtocolOptions_UseDownstreamHttpConfig{HttpProtocolOptions: http1, Http2ProtocolOptions: http2},
		}}
	}
}

func explicit(config *upstreamv3.HttpProtocolOptions_ExplicitHttpConfig) *upstreamv3.HttpProtocolOptions {
	return &upstreamv3.HttpProtocolOptions{
		UpstreamProtocolOptions: &upstreamv3.HttpProtocolOptions_ExplicitHttpConfig_{ExplicitHttpConfig: config},
	}
}

func extension(name string, config proto.Message) *corev3.TypedExtensionConfig {
	return &corev3.TypedExtensionConfig{Name: name, TypedConfig: packed(config)}
}
