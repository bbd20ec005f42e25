package bootstrap

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
