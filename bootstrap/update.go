package bootstrap

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// A running Envoy is led from one generation to another by moving new content to the
// names of the files that it watches: see package proxy, which knows the order. New
// has the content of the routes and listeners; what is on the way is here.

// NewClusters is the content of ClustersFile with these clusters and no others.
func NewClusters(version string, clusters []Cluster) []byte {
	messages := []json.RawMessage{}
	for _, of := range clusters {
		messages = append(messages, of.Message)
	}
	return render(discovery[json.RawMessage]{version, messages})
}

// NewTrial is the content of ListenersFile that tries another generation: beside the
// listeners of c there are two that nobody can connect to, with everything that next
// has for connections and routes. Envoy takes those or says what is wrong with them,
// and traffic sees nothing of either.
func NewTrial(version string, c, next Config) []byte {
	listeners := []any{c.inbound(), c.outbound()}
	routes := map[string]routeConfiguration{
		Inbound:  next.inboundRoutes(Inbound, toward(InboundPassthrough)).Value,
		Outbound: next.outboundRoutes().Value,
	}
	maps.Copy(routes, next.inboundPortRoutes())
	for _, l := range []typed[listener]{next.inbound(), next.outbound()} {
		l.Value.Name, l.Value.StatPrefix = "trial_"+l.Value.Name, "trial_"+l.Value.StatPrefix
		// Nobody listens there, but no two listeners may have the same address.
		l.Value.Address = address{Socket: &socketAddress{Address: "127.0.0.2", Port: c.InboundPort}}
		if l.Value.TrafficDirection == "OUTBOUND" {
			l.Value.Address.Socket.Port = c.OutboundPort
		}
		l.Value.BindToPort, l.Value.AdditionalAddresses = new(bool), nil
		for n := range l.Value.FilterChains {
			l.Value.FilterChains[n].inlineRoutes(routes)
		}
		listeners = append(listeners, l)
	}
	return render(discovery[any]{version, listeners})
}

// inlineRoutes puts the routes themselves where a connection manager names them.
func (f *filterChain) inlineRoutes(routes map[string]routeConfiguration) {
	for n, filter := range f.Filters {
		if manager, ok := filter.Config.(httpConnectionManager); ok {
			of := routes[manager.RDS.Name]
			manager.Routes, manager.RDS = &of, nil
			f.Filters[n].Config = manager
		}
	}
}

// AtStart is the cluster for an Envoy that starts with it: without hosts until DNS has
// answered, rather than an Envoy that does not start until then.
func (of Cluster) AtStart() Cluster {
	var message map[string]json.RawMessage
	if err := json.Unmarshal(of.Message, &message); err != nil {
		return of // Envoy will say so
	}
	message["wait_for_warm_on_init"] = json.RawMessage("false")
	return Cluster{of.Name, render(message)}
}

// ChangesInPlace is true of a cluster that keeps its name when its content changes. Filter
// chains lead to it: with another name each change would end the connections to it. It has
// no addresses, so there is nothing to wait for when it changes.
func (of Cluster) ChangesInPlace() bool { return !strings.Contains(of.Name, "@") }

// Trial is the cluster under a name that nothing leads to, for Envoy to judge it before
// it takes the place of another.
func (of Cluster) Trial() Cluster {
	var message map[string]json.RawMessage
	if err := json.Unmarshal(of.Message, &message); err != nil {
		return of // Check has refused it
	}
	name := of.Name + "@" + hash(of.Message)
	message["name"] = render(name)
	return Cluster{name, render(message)}
}

// Plain is the name without its hash.
func (of Cluster) Plain() string {
	plain, _, _ := strings.Cut(of.Name, "@")
	return plain
}

// HasAddresses says whether it is known by name or address where the cluster leads, and
// not from each connection.
func (of Cluster) HasAddresses() bool {
	var message struct {
		Assignment json.RawMessage `json:"load_assignment"`
	}
	return json.Unmarshal(of.Message, &message) == nil && message.Assignment != nil
}

// Check finds what Envoy would take although it cannot be meant: a cluster that is not
// there is an error to Envoy in routes only; and what it must not be given, see reach.
// Everything else is Envoy's to judge.
func (g *Generation) Check(c Config) error {
	if err := g.checkReach(); err != nil {
		return err
	}
	known := []string{InboundPassthrough, OutboundPassthrough, OutboundGRPC, Blackhole}
	for _, of := range g.Clusters {
		var message struct {
			Name string `json:"name"`
		}
		switch err := json.Unmarshal(of.Message, &message); {
		case err != nil:
			return fmt.Errorf("the cluster %s: %w", of.Name, err)
		case message.Name != of.Name:
			return fmt.Errorf("the cluster %s calls itself %q", of.Name, message.Name)
		case slices.Contains(known, of.Name):
			return fmt.Errorf("there are two clusters %s", of.Name)
		case of.ChangesInPlace() && of.HasAddresses():
			return fmt.Errorf("the cluster %s has addresses and no hash in its name: it would change while DNS has not answered", of.Name)
		}
		known = append(known, of.Name)
	}
	lead := func(what string, port uint16, cluster string) error {
		switch {
		case port == 0 || port == c.InboundPort || port == c.OutboundPort:
			return fmt.Errorf("%s has the port %d, which is no port of an app", what, port)
		case !slices.Contains(known, cluster):
			return fmt.Errorf("%s leads to the cluster %s, which is not in it", what, cluster)
		}
		return nil
	}
	var ports []uint16
	for _, p := range g.Inbound {
		if slices.Contains(ports, p.Port) {
			return fmt.Errorf("the inbound port %d is there twice", p.Port)
		}
		ports = append(ports, p.Port)
		if err := lead(fmt.Sprint("the inbound port ", p.Port), p.Port, p.cluster()); err != nil {
			return err
		}
	}
	for _, of := range g.Outbound.Connections {
		if err := lead("the destination "+of.Name, of.Port, of.Cluster); err != nil {
			return err
		}
	}
	return nil
}
