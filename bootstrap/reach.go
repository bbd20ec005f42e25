package bootstrap

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// What a generation may hold. It is raw configuration, and Envoy could be told by it to
// run scripts, to hand requests to other programs and to read files of its container,
// the pod's token among them. No MeshService asks for any of that: whoever writes a
// generation by hand may lead traffic elsewhere, as a MeshService does, and no more.

// messageTypes are the types of messages that package envoy writes: a generation that has
// another one says so in Check, and is not given to Envoy.
func messageTypes() []string {
	return []string{
		"envoy.config.cluster.v3.Cluster",
		"envoy.extensions.clusters.aggregate.v3.ClusterConfig",
		"envoy.extensions.clusters.dns.v3.DnsCluster",
		"envoy.extensions.filters.http.adaptive_concurrency.v3.AdaptiveConcurrency",
		"envoy.extensions.filters.http.local_ratelimit.v3.LocalRateLimit",
		"envoy.extensions.http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig",
		"envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate",
		"envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig",
		"envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
	}
}

// elsewhere are fields of those that lead out of the network: to sockets and files in the
// container, to its environment, and to configuration that was never looked at. They are
// written as Envoy reads them, which takes a field's name in both of protobuf's
// spellings: without underscores, in lower case.
func elsewhere() []string {
	return []string{
		"pipe", "envoyinternaladdress", "filename", "environmentvariable", "watcheddirectory",
		"configdiscovery", "edsconfig", "ledsconfig", "lrsserver",
	}
}

// reach refuses a message that reaches further than those of package envoy do.
func reach(message json.RawMessage) error {
	in := json.NewDecoder(bytes.NewReader(message))
	in.UseNumber()
	return reachOf(in, "", false)
}

// reachOf reads a value, the one of a field. It goes by tokens, since of a field that is
// there twice a map would show one, and Envoy may take the other.
func reachOf(in *json.Decoder, field string, format bool) error {
	token, err := in.Token()
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	if err != nil {
		return err
	}
	switch value := token.(type) {
	case string:
		return reachOfText(field, value, format)
	case json.Delim:
		for in.More() {
			inner := field
			if value == '{' {
				name, err := in.Token()
				if err != nil {
					return err
				}
				inner, _ = name.(string)
			}
			spelled := strings.ToLower(strings.ReplaceAll(inner, "_", ""))
			if slices.Contains(elsewhere(), spelled) {
				return fmt.Errorf("it has the field %s, %w", inner, errForeign)
			}
			formats := format || strings.HasSuffix(spelled, "headerstoadd") || strings.HasSuffix(spelled, "format")
			if err := reachOf(in, inner, formats); err != nil {
				return err
			}
		}
		_, err = in.Token() // its end
	}
	return err
}

// errForeign cannot tell a newer version from a stranger.
var errForeign = errors.New("which this version of Pillion writes for no MeshService: it comes from a newer version, for which pods have to be made anew, or not from Pillion")

func reachOfText(field, value string, format bool) error {
	if field == "@type" {
		name := value[strings.LastIndexByte(value, '/')+1:]
		if !slices.Contains(messageTypes(), name) {
			return fmt.Errorf("it has a message of the type %s, %w", name, errForeign)
		}
		return nil
	}
	if format {
		return reachOfFormat(value)
	}
	return nil
}

// reachOfFormat refuses all commands of Envoy's formats but those that are used: others
// read the environment and files.
func reachOfFormat(format string) error {
	rest := format
	for _, used := range []string{"%%", "%REQ(:AUTHORITY)%", "%REQ(" + ForwardedProtoAside + ")%"} {
		rest = strings.ReplaceAll(rest, used, " ")
	}
	if strings.Contains(rest, "%") {
		return fmt.Errorf("it has the format %q, %w", format, errForeign)
	}
	return nil
}

// checkReach looks at all that Envoy would be given as it is.
func (g *Generation) checkReach() error {
	for _, of := range g.Clusters {
		if err := reach(of.Message); err != nil {
			return fmt.Errorf("the cluster %s: %w", of.Name, err)
		}
	}
	for _, p := range g.Inbound {
		for _, filter := range p.HTTPFilters {
			if err := reach(filter); err != nil {
				return fmt.Errorf("a filter of the inbound port %d: %w", p.Port, err)
			}
		}
	}
	for n, host := range g.Outbound.VirtualHosts {
		if err := reach(host); err != nil {
			return fmt.Errorf("the virtual host %d: %w", n, err)
		}
	}
	if err := reachOfFormat(g.Outbound.RefuseUndeclared); err != nil {
		return fmt.Errorf("refuseUndeclared: %w", err)
	}
	return nil
}
