package v1alpha1

import "k8s.io/apimachinery/pkg/util/intstr"

// WellKnownReservedPorts is Pillion's own list of ports on which something else
// than HTTP is spoken, sorted by port. It is reserved in both directions unless
// redirect.wellKnownPorts is Ignored.
//
// A port that is listed without need costs the sight of its traffic, since it
// flows without Envoy. A port that is missing costs the traffic: so a port that
// two protocols share (9093: Kafka's TLS or controller listener, and
// Alertmanager's HTTP) is listed where one of them is a database or a queue that
// many services depend on. What is not listed are the ports that everybody uses
// for HTTP, whoever else uses them too: 3000 (Aerospike), 4000 (TiDB), 8000, 9000
// (ClickHouse), 9090 (Thrift).
//
// Every port is an entry of its own, so that each can be taken back alone.
func WellKnownReservedPorts() []ReservedPort {
	// What the server says first never comes: the proxy waits for the client, to see
	// whether it speaks HTTP, and the client for the server.
	const greets = "the server speaks first, so client and proxy would wait for each other"
	// The client's first bytes are no HTTP, and TLS, if any, starts later.
	const own = "a protocol of its own: Envoy could only pass its bytes on, and would cut its connections when it drains"
	const peers = "members of a cluster talk to each other under their own addresses and certificates, also while the pod starts and stops"
	const redirects = "the servers tell clients which of them to connect to, by addresses that Envoy cannot know"
	const lines = "a one-way stream of values, not requests: nothing is answered"
	ports := [...]struct {
		port             int32
		protocol, reason string
	}{
		{21, "FTP", greets},
		{22, "SSH", greets},
		{25, "SMTP", greets},
		{53, "DNS over TCP", "names must resolve before Envoy is ready, and Envoy itself needs them"},
		{88, "Kerberos", own},
		{110, "POP3", greets},
		{143, "IMAP", greets},
		{389, "LDAP", own},
		{445, "SMB", own},
		{465, "SMTP over TLS", own},
		{514, "syslog over TCP", lines},
		{587, "SMTP submission", greets},
		{636, "LDAP over TLS", own},
		{873, "rsync", greets},
		{993, "IMAP over TLS", own},
		{995, "POP3 over TLS", own},
		{1433, "Microsoft SQL Server", own},
		{1521, "Oracle Database", own},
		{1883, "MQTT", own},
		{2003, "Graphite, plain text", lines},
		{2004, "Graphite, pickle", lines},
		{2049, "NFS", own},
		{2181, "ZooKeeper", "sessions are bound to one long connection in a protocol of its own"},
		{2380, "etcd, between members", peers},
		{2888, "ZooKeeper, followers to leader", peers},
		{3306, "MySQL", greets},
		{3888, "ZooKeeper, leader election", peers},
		{4222, "NATS", greets},
		{4369, "Erlang port mapper", own},
		{4444, "Galera state transfer", peers},
		{4567, "Galera replication", peers},
		{4568, "Galera incremental state transfer", peers},
		{5044, "Beats to Logstash", own},
		{5432, "PostgreSQL", own},
		{5671, "AMQP over TLS", own},
		{5672, "AMQP", own},
		{6222, "NATS, between servers", peers},
		{6379, "Redis", own},
		{6432, "PgBouncer", own},
		{6514, "syslog over TLS", lines},
		{6650, "Pulsar", redirects},
		{6651, "Pulsar over TLS", redirects},
		{6933, "Temporal frontend membership (TChannel)", peers},
		{6934, "Temporal history membership (TChannel)", peers},
		{6935, "Temporal matching membership (TChannel)", peers},
		{6939, "Temporal worker membership (TChannel)", peers},
		{7000, "Cassandra, between nodes", peers},
		{7001, "Cassandra, between nodes over TLS", peers},
		{7687, "Neo4j Bolt", own},
		{7933, "Cadence frontend (TChannel)", own},
		{7934, "Cadence history (TChannel)", peers},
		{7935, "Cadence matching (TChannel)", peers},
		{7939, "Cadence worker (TChannel)", peers},
		{8125, "StatsD over TCP", lines},
		{8300, "Consul server RPC", peers},
		{8301, "Consul gossip in the LAN", peers},
		{8302, "Consul gossip in the WAN", peers},
		{8883, "MQTT over TLS", own},
		{9042, "Cassandra", redirects},
		{9092, "Kafka", redirects},
		{9093, "Kafka over TLS, or between controllers", redirects},
		{9094, "Kafka, external listener", redirects},
		{9300, "Elasticsearch and OpenSearch transport", peers},
		{9418, "Git", own},
		{11211, "memcached", own},
		{16379, "Redis cluster bus", peers},
		{24224, "Fluentd forward", lines},
		{25672, "Erlang distribution (RabbitMQ)", peers},
		{26257, "CockroachDB", own},
		{26379, "Redis Sentinel", redirects},
		{27017, "MongoDB", redirects},
		{27018, "MongoDB shard", redirects},
		{27019, "MongoDB config server", redirects},
		{33060, "MySQL X Protocol", own},
	}
	list := make([]ReservedPort, len(ports))
	for i, p := range ports {
		list[i] = ReservedPort{Port: intstr.FromInt32(p.port), Protocol: p.protocol, Reason: p.reason}
	}
	return list
}
