package v1alpha1

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pillion-mesh/pillion/iptables"
)

func parsePorts(port intstr.IntOrString) (iptables.PortRange, error) {
	return iptables.ParsePortRange(port.String())
}

// reservations are the reserved ports of one direction, with their protocols.
type reservations map[iptables.PortRange]string

// add adds the entries that can be read; validateDirection complains about others.
func (r reservations) add(entries []ReservedPort) {
	for _, entry := range entries {
		if ports, err := parsePorts(entry.Port); err == nil {
			r[ports] = entry.Protocol
		}
	}
}

func (r reservations) clone() reservations { return maps.Clone(r) }

// takeBack removes ports, and says which of them were not reserved exactly so.
func (r reservations) takeBack(list []intstr.IntOrString, path *field.Path) field.ErrorList {
	var errs field.ErrorList
	for n, port := range list {
		at := path.Index(n)
		ports, err := parsePorts(port)
		if err != nil {
			errs = append(errs, field.Invalid(at, port.String(), err.Error()))
			continue
		}
		if _, reserved := r[ports]; !reserved {
			errs = append(errs, field.Invalid(at, port.String(), r.whyNot(ports)))
		}
		delete(r, ports)
	}
	return errs
}

// whyNot explains why ports cannot be taken back.
func (r reservations) whyNot(ports iptables.PortRange) string {
	for _, other := range slices.SortedFunc(maps.Keys(r), byPort) {
		if other.First <= ports.Last && ports.First <= other.Last {
			return fmt.Sprintf("is not reserved as such; give %s (%s) as it was reserved", other, r[other])
		}
	}
	return "is not reserved on a level below, so there is nothing to take back"
}

func byPort(a, b iptables.PortRange) int {
	return cmp.Or(cmp.Compare(a.First, b.First), cmp.Compare(a.Last, b.Last))
}
