package injector

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/iptables"
)

// ports are the reserved ports of one direction. A value is never changed once
// made, so that all pods share those of the configuration.
type ports struct {
	entries []Port
	// ranges are the entries' ranges, sorted and merged.
	ranges []iptables.PortRange
}

func newPorts(entries []Port) ports {
	ranges := make([]iptables.PortRange, len(entries))
	for i, e := range entries {
		ranges[i] = e.PortRange
	}
	return ports{entries, iptables.NormalizeRanges(ranges)}
}

// wellKnownSource marks the entries of Pillion's own list.
func wellKnownSource() Source { return Source{LevelDefault, "well-known ports"} }

// withWellKnown adds or takes away Pillion's own list.
func (p ports) withWellKnown(policy v1alpha1.WellKnownPorts) ports {
	entries := slices.DeleteFunc(slices.Clone(p.entries), func(e Port) bool { return e.Source == wellKnownSource() })
	if policy == v1alpha1.WellKnownIgnored {
		return newPorts(entries)
	}
	var known []Port
	for _, e := range v1alpha1.WellKnownReservedPorts() {
		// The list is ours; a test reads every entry.
		if r, err := iptables.ParsePortRange(e.Port.String()); err == nil {
			known = append(known, Port{r, e, wellKnownSource()})
		}
	}
	return newPorts(append(known, entries...))
}

// check says what is wrong with a level on top of these ports.
func (p ports) check(level *v1alpha1.DirectionSettings) error {
	for n, port := range level.UnreservedPorts {
		r, err := parsePort(port)
		if err == nil {
			_, err = unreserve(slices.Clone(p.entries), r)
		}
		if err != nil {
			return fmt.Errorf("unreservedPorts[%d]: %w", n, err)
		}
	}
	for n, e := range level.ReservedPorts {
		if _, err := parsePort(e.Port); err != nil {
			return fmt.Errorf("reservedPorts[%d].port: %w", n, err)
		}
	}
	return nil
}

// apply adds and takes away what one level says. The level has been checked: what
// cannot be taken back any more was taken back by a level in between.
func (p ports) apply(level *v1alpha1.DirectionSettings, source Source) ports {
	if len(level.ReservedPorts)+len(level.UnreservedPorts) == 0 {
		return p
	}
	entries := slices.Clone(p.entries)
	for _, port := range level.UnreservedPorts {
		if r, err := parsePort(port); err == nil {
			entries = slices.DeleteFunc(entries, func(e Port) bool { return e.PortRange == r })
		}
	}
	for _, e := range level.ReservedPorts {
		if r, err := parsePort(e.Port); err == nil {
			entries = append(entries, Port{r, e, source})
		}
	}
	return newPorts(entries)
}

func parsePort(port intstr.IntOrString) (iptables.PortRange, error) {
	return iptables.ParsePortRange(port.String())
}

// unreserve takes a range away that is reserved exactly so, in place.
func unreserve(entries []Port, r iptables.PortRange) ([]Port, error) {
	before := len(entries)
	entries = slices.DeleteFunc(entries, func(e Port) bool { return e.PortRange == r })
	if len(entries) == before {
		for _, e := range entries {
			if e.First <= r.Last && r.First <= e.Last {
				return nil, fmt.Errorf("%s is not reserved as such: it is part of %s (%s), which can only be taken back whole", r, e.PortRange, e.Protocol)
			}
		}
		return nil, fmt.Errorf("%s is not reserved, so there is nothing to take back", r)
	}
	return entries, nil
}

// applyList adds and takes away what an annotation lists: `9042,7000-7010,!3306`.
func (p ports) applyList(list string, source Source) (ports, error) {
	items, err := splitList(list)
	if err != nil {
		return p, err
	}
	entries := slices.Clone(p.entries)
	for _, item := range items {
		text, takeBack := strings.CutPrefix(item, "!")
		r, err := iptables.ParsePortRange(text)
		if err != nil {
			return p, err
		}
		if !takeBack {
			entries = append(entries, Port{r, v1alpha1.ReservedPort{Port: intstr.Parse(text), Reason: "the pod's owner reserved it"}, source})
			continue
		}
		if entries, err = unreserve(entries, r); err != nil {
			return p, err
		}
	}
	return newPorts(entries), nil
}

// contains says whether traffic on a port bypasses Envoy.
func (p ports) contains(port uint16) bool {
	return slices.ContainsFunc(p.ranges, func(r iptables.PortRange) bool { return r.Contains(port) })
}

// expired are the entries whose date is over.
func (p ports) expired(now time.Time) []Port {
	var past []Port
	for _, e := range p.entries {
		if e.Expires == "" {
			continue
		}
		// Validated with the configuration; the date's whole day still counts.
		if day, err := time.Parse(time.DateOnly, e.Expires); err == nil && !now.Before(day.AddDate(0, 0, 1)) {
			past = append(past, e)
		}
	}
	return past
}
