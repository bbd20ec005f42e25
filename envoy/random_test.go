package envoy

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"testing"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/mesh"
)

// FuzzRender: every valid document gives what Envoy takes, and the same in whatever order
// its lists are. `make fuzz` goes on from the seeds that go test runs.
func FuzzRender(f *testing.F) {
	for seed := range uint64(32) {
		f.Add(thrown(seed))
	}
	f.Fuzz(func(t *testing.T, thrown []byte) {
		t.Parallel()
		d := dice{thrown: thrown}
		document := d.document()
		service, err := mesh.Resolve(document)
		if err != nil {
			t.Fatal(err)
		}
		g, err := Render(service)
		if err != nil {
			t.Fatal(err)
		}
		slices.Reverse(document.Spec.Inbound)
		slices.Reverse(document.Spec.Egress)
		if again, _ := sealed(t, document); again.Version != g.Version {
			t.Errorf("in another order it is version %s, and not %s", again.Version, g.Version)
		}
		accepted(t, g)
	})
}

// thrown are dice enough for a large document.
func thrown(seed uint64) []byte {
	random, bytes := rand.New(rand.NewPCG(seed, 7)), make([]byte, 4096)
	for n := range bytes {
		bytes[n] = byte(random.Uint32())
	}
	return bytes
}

// TestDice: the fuzzer is worth what its documents say. Among a few of them is each field
// with and without a value, and what destinations can have in common.
func TestDice(t *testing.T) {
	const documents = 300
	fields, said := map[string][2]int{}, map[string]int{}
	var kept, dropped int
	for seed := range uint64(documents) {
		d := dice{thrown: thrown(seed)}
		document := d.document()
		kept, dropped = kept+d.kept, dropped+d.dropped
		visit("spec", reflect.ValueOf(document.Spec), fields)
		for what := range has(document.Spec) {
			said[what]++
		}
	}
	t.Logf("%d parts of documents are valid, %d were not: %v", kept, dropped, said)
	if kept < 2*dropped {
		t.Errorf("%d parts of documents are valid and %d were not: most of the work is for nothing", kept, dropped)
	}
	for path, seen := range fields {
		if seen[0] == 0 && !required[path] || seen[1] == 0 {
			t.Errorf("%s is empty %d times and has a value %d times: both are to be seen", path, seen[0], seen[1])
		}
	}
	for _, what := range worthTrying {
		if said[what] < 3 {
			t.Errorf("%d of %d documents have %s", said[what], documents, what)
		}
	}
}

// required fields are never empty.
var required = map[string]bool{
	"spec.Inbound[].Port": true, "spec.Inbound[].RateLimit.Requests": true,
	"spec.Egress[].Name": true, "spec.Egress[].Port": true, "spec.Egress[].Service.Name": true,
	"spec.Egress[].Routes[].To": true, "spec.Egress[].Routes[].Headers[].Name": true, "spec.Egress[].Routes[].Headers[].Value": true,
	"spec.Egress[].Routes[].GRPC.Service": true,
}

// visit counts for each field that there can be how often it was empty and was not.
func visit(path string, value reflect.Value, fields map[string][2]int) {
	switch value.Kind() {
	case reflect.Pointer:
		if value.IsNil() {
			// Its fields are known all the same, or one that no document has would be missed.
			visitType(path, value.Type().Elem(), fields)
			return
		}
		visit(path, value.Elem(), fields)
	case reflect.Slice:
		visitType(path+"[]", value.Type().Elem(), fields)
		for n := range value.Len() {
			visit(path+"[]", value.Index(n), fields)
		}
	case reflect.Struct:
		if value.Type().PkgPath() != reflect.TypeFor[v1alpha1.MeshServiceSpec]().PkgPath() {
			return
		}
		for n := range value.NumField() {
			at, field := path+"."+value.Type().Field(n).Name, value.Field(n)
			seen := fields[at]
			if field.IsZero() {
				seen[0]++
			} else {
				seen[1]++
			}
			fields[at] = seen
			visit(at, field, fields)
		}
	default:
	}
}

func visitType(path string, of reflect.Type, fields map[string][2]int) {
	switch of.Kind() {
	case reflect.Pointer:
		visitType(path, of.Elem(), fields)
	case reflect.Slice:
		visitType(path+"[]", of.Elem(), fields)
	case reflect.Struct:
		for n := range of.NumField() {
			if of.PkgPath() != reflect.TypeFor[v1alpha1.MeshServiceSpec]().PkgPath() {
				return
			}
			at := path + "." + of.Field(n).Name
			if _, known := fields[at]; !known {
				fields[at] = [2]int{}
			}
			visitType(at, of.Field(n).Type, fields)
		}
	default:
	}
}

// worthTrying is what has, because Envoy knows hosts, filter chains, routes and clusters
// by what they share.
var worthTrying = []string{
	"nothing", "ten destinations", "a name on two ports", "a Service that is a host, too",
	"HTTP and HTTP on a port", "HTTP and TLS on a port", "HTTP and TCP on a port", "TLS and TLS on a port", "TLS and TCP on a port",
	"a route by headers", "a route by several headers", "a route by gRPC", "a route by gRPC methods", "a route by gRPC and headers",
	"several routes", "routes to one destination from two", "a route to another protocol", "a route of a safe method",
	"a fallback from HTTP/1 to HTTP/2",
}

// has is what a document has of it.
func has(spec v1alpha1.MeshServiceSpec) map[string]bool {
	all, ports, led := map[string]bool{}, map[int32][]string{}, map[string]string{}
	all["nothing"], all["ten destinations"] = len(spec.Egress) == 0, len(spec.Egress) >= 10
	hosts := map[string]v1alpha1.Destination{}
	for _, d := range spec.Egress {
		kind := "HTTP"
		if !isHTTP(d.Protocol) {
			kind = string(d.Protocol)
		}
		for _, other := range ports[d.Port] {
			first, second := min(kind, other), max(kind, other)
			if first == "TCP" {
				first, second = second, first
			}
			all[fmt.Sprintf("%s and %s on a port", first, second)] = true
		}
		ports[d.Port] = append(ports[d.Port], kind)
		for _, host := range d.Hosts(mainNamespace) {
			other, there := hosts[host]
			all["a name on two ports"] = all["a name on two ports"] || there
			all["a Service that is a host, too"] = all["a Service that is a host, too"] || there && (d.Service == nil) != (other.Service == nil)
			hosts[host] = d
		}
		all["several routes"] = all["several routes"] || len(d.Routes) > 1
		for _, r := range d.Routes {
			to := spec.Egress[slices.IndexFunc(spec.Egress, func(e v1alpha1.Destination) bool { return e.Name == r.To })]
			from, there := led[r.To]
			all["routes to one destination from two"] = all["routes to one destination from two"] || there && from != d.Name
			led[r.To] = d.Name
			for what, is := range ofRoute(d, r, to.Protocol) {
				all[what] = all[what] || is
			}
		}
	}
	for what, is := range all {
		if !is {
			delete(all, what)
		}
	}
	return all
}

func ofRoute(d v1alpha1.Destination, r v1alpha1.Route, to v1alpha1.Protocol) map[string]bool {
	grpc := r.GRPC
	if grpc == nil {
		grpc = &v1alpha1.GRPCMatch{}
	}
	return map[string]bool{
		"a route by headers": r.GRPC == nil, "a route by several headers": len(r.Headers) > 1,
		"a route by gRPC": len(r.Headers) == 0, "a route by gRPC methods": len(grpc.Methods) > 0, "a route by gRPC and headers": r.GRPC != nil && len(r.Headers) > 0,
		"a route to another protocol": d.Protocol != to,
		"a route of a safe method": d.Retries != nil && slices.ContainsFunc(grpc.Methods, func(m string) bool {
			return slices.Contains(d.Retries.SafeMethods, grpc.Service+"/"+m)
		}),
		"a fallback from HTTP/1 to HTTP/2": r.Fallback != nil && d.Protocol == v1alpha1.ProtocolHTTP1 && to == v1alpha1.ProtocolHTTP2,
	}
}

func isHTTP(p v1alpha1.Protocol) bool { return p == "" || p.IsHTTP() }
