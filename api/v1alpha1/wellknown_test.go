package v1alpha1

import (
	"testing"

	"github.com/pillion-mesh/pillion/iptables"
)

// TestWellKnownPortsCanBeRead: what reads the list counts on every entry.
func TestWellKnownPortsCanBeRead(t *testing.T) {
	var last iptables.PortRange
	for _, entry := range WellKnownReservedPorts() {
		ports, err := parsePorts(entry.Port)
		if err != nil {
			t.Error(err)
		}
		if entry.Protocol == "" || entry.Reason == "" {
			t.Errorf("%s has no protocol or no reason", ports)
		}
		if ports.First <= last.Last {
			t.Errorf("%s stands behind %s", ports, last)
		}
		last = ports
	}
}

// TestWellKnownPortsAreNotHTTP: what is reserved is lost to the mesh.
func TestWellKnownPortsAreNotHTTP(t *testing.T) {
	http := []uint16{
		80, 81, 443, 591, 2379, 3000, 3001, 4000, 4200, 4317, 4318, 5000, 5001, 5173, 5601, 6443, 7233, 8000, 8001, 8008, 8010, 8080, 8081,
		8082, 8083, 8086, 8088, 8090, 8200, 8443, 8500, 8501, 8502, 8888, 9000, 9001, 9080, 9090, 9091, 9100, 9200, 9411, 9443, 9901, 10250, 15672, 50051,
	}
	for _, entry := range WellKnownReservedPorts() {
		ports, err := parsePorts(entry.Port)
		if err != nil {
			t.Fatal(err)
		}
		for _, port := range http {
			if ports.Contains(port) {
				t.Errorf("%d is a port of HTTP and reserved for %s", port, entry.Protocol)
			}
		}
	}
}

// TestWellKnownPortsHold the protocols that have broken services when a proxy got
// between: nobody may drop one by accident.
func TestWellKnownPortsHold(t *testing.T) {
	reserved := reservations{}
	reserved.add(WellKnownReservedPorts())
	for _, port := range []uint16{
		21, 22, 25, 53, 110, 143, 389, 465, 587, 636, 993, 995, 1433, 1521, 1883, 2003, 2004, 2181, 2380, 2888, 3306, 3888, 4222,
		4369, 4444, 4567, 4568, 5432, 5671, 5672, 6222, 6379, 6432, 7000, 7001, 7933, 7934, 7935, 7939, 8125, 8883, 9042, 9092, 9093, 9094,
		9300, 11211, 16379, 25672, 26379, 27017, 27018, 27019, 33060,
	} {
		if reserved[iptables.PortRange{First: port, Last: port}] == "" {
			t.Errorf("%d is not reserved as an entry of its own", port)
		}
	}
}
