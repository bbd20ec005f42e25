package bootstrap

import "strings"

// What every virtual host does to the headers of a request: it removes what Envoy says
// in the client's name, and puts back what the client itself said, which was set aside.
const (
	ForwardedProto      = proto
	ForwardedProtoAside = protoAside
)

// MaxHeaders and MaxHeadersKB are of a response, to the passthrough and to destinations.
const (
	MaxHeaders   = maxHeaders
	MaxHeadersKB = maxHeadersKB
)

// Keepalive of TCP connections: a peer is gone when it has not answered so many probes,
// which begin after an idle time and follow each other, both in seconds.
func Keepalive() (probes, idle, interval uint32) {
	k := keepalive()
	return uint32(k.Probes), uint32(k.Time), uint32(k.Interval)
}

// UserTimeout is the socket option, by its level, name and value, that finds a peer that is
// gone while something is under way to it. It is for what speaks HTTP/2.
func UserTimeout() (description string, level, name, value int64) {
	o := userTimeout()
	return o.Description, int64(o.Level), int64(o.Name), int64(o.IntValue)
}

// InboundPrefix begins the names, in statistics, of clusters that lead to the pod's own app.
const InboundPrefix = "inbound_"

// OfDestination says whether a cluster, by its name in statistics, is one that the service
// calls and has declared.
func OfDestination(cluster string) bool {
	return !strings.HasPrefix(cluster, InboundPrefix) && cluster != OutboundPassthrough && cluster != Blackhole
}
