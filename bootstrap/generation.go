package bootstrap

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"
)

// Generation is what one state of a service's MeshService adds to the passthrough: a
// whole that a pod takes or refuses. Package envoy makes it, a ConfigMap carries it
// to the pods in one file, and pillion-proxy applies it.
//
// It holds what is the same for all pods of the service. What is a pod's own (ports,
// families, the end of connections) is in Config, and New puts the two together, so
// that a listener is defined in one place.
//
// Messages of Envoy are kept as package envoy wrote and checked them. Clusters that routes
// lead to carry a hash of their content in their name: one that changes is another one,
// which is proved to work before routes lead to it, while the old one still serves. Those
// that filter chains lead to keep their name, see Cluster.ChangesInPlace.
type Generation struct {
	// Service and Namespace it is for. A pod of another one refuses it.
	Service   string `json:"service"`
	Namespace string `json:"namespace"`
	// Created and Number put the generations of a service in an order: when its
	// MeshService was created, in seconds since 1970, and metadata.generation, which counts its
	// changes. A pod refuses one that is older than the one that it has.
	Created int64 `json:"created"`
	Number  int64 `json:"number"`
	// Version is the hash of the content as the file has it, see Seal.
	Version string `json:"-"`
	// Clusters are envoy.config.cluster.v3.Cluster, each with "@type".
	Clusters []Cluster `json:"clusters,omitempty"`
	// Inbound are the service's ports; others are passed through.
	Inbound []InboundPort `json:"inbound,omitempty"`
	// Outbound is about what the app calls.
	Outbound Destinations `json:"outbound,omitzero"`
	// Statistics say what the status port passes on.
	Statistics Statistics `json:"statistics,omitzero"`
}

// Cluster is a message with what has to be known of it here.
type Cluster struct {
	// Name as in the message: NAME@HASH, or NAME for one that changes in place.
	Name string `json:"name"`
	// Message is the cluster.
	Message json.RawMessage `json:"message"`
}

// InboundPort is a filter chain for connections to one port of the pod.
type InboundPort struct {
	Port uint16 `json:"port"`
	// TCP passes bytes on without looking at them.
	TCP bool `json:"tcp,omitempty"`
	// Cluster that leads to the app; empty for InboundPassthrough.
	Cluster string `json:"cluster,omitempty"`
	// Timeout of a request; 0 for none.
	Timeout Duration `json:"timeout,omitzero"`
	// MaxConcurrentStreams of a client's HTTP/2 connection; 0 for the largest number.
	MaxConcurrentStreams uint32 `json:"maxConcurrentStreams,omitempty"`
	// MaxConnectionAge in place of Config.DownstreamAge; nil for that.
	MaxConnectionAge *Duration `json:"maxConnectionAge,omitempty"`
	// HTTPFilters before the router, each a HttpFilter.
	HTTPFilters []json.RawMessage `json:"httpFilters,omitempty"`
}

// Destinations is what the outbound listener does beside passing through.
type Destinations struct {
	// VirtualHosts are envoy.config.route.v3.VirtualHost, before the one for everything
	// else. Each does to headers what bootstrap's own do, see routes.
	VirtualHosts []json.RawMessage `json:"virtualHosts,omitempty"`
	// BytePorts are those of Connections without server names on which there is no
	// destination of HTTP: HTTP is nothing but bytes there, too.
	BytePorts []uint16 `json:"bytePorts,omitempty"`
	// Connections are filter chains for what is no HTTP in the clear.
	Connections []Connection `json:"connections,omitempty"`
	// RefuseUndeclared answers HTTP to other destinations with 403 and this sentence, and
	// closes other connections, those that might still become HTTP with 400; empty passes them through. It is a format of Envoy's:
	// %REQ(:AUTHORITY)% is the host that was called, and %% a percent sign.
	RefuseUndeclared string `json:"refuseUndeclared,omitempty"`
}

// Connection matches connections by port and, for TLS, by server name.
type Connection struct {
	// Name of the destination.
	Name string `json:"name"`
	Port uint16 `json:"port"`
	// ServerNames of TLS; empty for any connection that is no HTTP in the clear.
	ServerNames []string `json:"serverNames,omitempty"`
	// Cluster that it goes to.
	Cluster string `json:"cluster"`
}

// Statistics say what the status port passes on.
type Statistics struct {
	// Destinations is how much of each cluster: "", "Detailed" or "None".
	Destinations string `json:"destinations,omitempty"`
	// MaxSeries that are passed on; 0 for the usual number.
	MaxSeries int `json:"maxSeries,omitempty"`
}

// What Destinations may be, beside empty.
const (
	StatisticsDetailed = "Detailed"
	StatisticsNone     = "None"
)

// Duration is a time.Duration as protobuf's JSON has it: "1.5s".
type Duration time.Duration

// MarshalJSON implements json.Marshaler.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(seconds(time.Duration(d))) }

// UnmarshalJSON implements json.Unmarshaler.
func (d *Duration) UnmarshalJSON(data []byte) error {
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return err
	}
	parsed, err := time.ParseDuration(text)
	if err != nil || parsed < 0 {
		return fmt.Errorf("reading the duration %q: a number of seconds is expected, as 1.5s", text)
	}
	*d = Duration(parsed)
	return nil
}

// GenerationFile is its name in the ConfigMap and in the folder that a pod mounts it in.
const GenerationFile = "generation.json"

// format of the file. A reader refuses a higher one, so it is raised by what a reader must
// not take for what it knows: a field that is new does not need it, since none is passed over.
const format = 1

// generationFile says of a generation what has to be known before it is read: whether it
// is whole, and whether this program may read it. Neither depends on its fields.
type generationFile struct {
	Format int `json:"format"`
	// Version is the hash of the bytes of Generation.
	Version    string          `json:"version"`
	Generation json.RawMessage `json:"generation"`
}

// Seal sets the version to what the content hashes to, and returns the file's bytes.
// The same content gives the same bytes.
func (g *Generation) Seal() ([]byte, error) {
	content, err := json.Marshal(g)
	if err != nil {
		return nil, fmt.Errorf("writing the generation of %s/%s: %w", g.Namespace, g.Service, err)
	}
	g.Version = hash(content)
	return json.Marshal(generationFile{format, g.Version, content})
}

func hash(content []byte) string {
	sum := sha256.Sum256(content)
	return hex.EncodeToString(sum[:8])
}

// ParseGeneration reads what Seal wrote, packed or not, and nothing else. The error says
// which of two it is: a file that was cut or changed, or one that is whole and that only a
// program that knows more than this one can read.
func ParseGeneration(data []byte) (*Generation, error) {
	data, err := unpack(data)
	if err != nil {
		return nil, err
	}
	var file generationFile
	if err := json.Unmarshal(data, &file); err != nil {
		return nil, fmt.Errorf("reading a generation of %d bytes: %w: it was cut or changed on the way", len(data), err)
	}
	if file.Format > format {
		return nil, newer(fmt.Errorf("its format is %d", file.Format))
	}
	if version := hash(file.Generation); file.Format < 1 || file.Version != version {
		return nil, fmt.Errorf("reading a generation of format %d: its content hashes to %s and it says %q: it was changed on the way", file.Format, version, file.Version)
	}
	decoder := json.NewDecoder(bytes.NewReader(file.Generation))
	decoder.DisallowUnknownFields()
	g := Generation{Version: file.Version}
	if err := decoder.Decode(&g); err != nil {
		return nil, newer(err)
	}
	return &g, nil
}

// newer is about a file that nobody has damaged.
func newer(why error) error {
	return fmt.Errorf("reading a generation: %w, which this program does not know: it was made by a newer Pillion than the sidecar's: make the pods anew, which gives them that one", why)
}

// OlderThan says whether another generation of the same service came after this one.
func (g *Generation) OlderThan(other *Generation) bool {
	if g.Created != other.Created {
		return g.Created < other.Created
	}
	return g.Number < other.Number
}
