package v1alpha1

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"sigs.k8s.io/yaml"
)

// TestDecodeMeshServiceKeepsWhatIsGiven writes each good document anew after reading
// it: what it said must still be there, and the result must read as the same.
func TestDecodeMeshServiceKeepsWhatIsGiven(t *testing.T) {
	for _, path := range files(t, "testdata/mesh/good/*") {
		t.Run(filepath.Base(path), func(t *testing.T) {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			mesh, err := DecodeMeshService(data)
			if err != nil {
				t.Fatal(err)
			}
			written := writeAgain(t, mesh)
			var given, kept map[string]any
			if err := errors.Join(yaml.Unmarshal(data, &given), yaml.Unmarshal(written, &kept)); err != nil {
				t.Fatal(err)
			}
			delete(given, "status") // nobody here reads it
			for _, lost := range missing("", given, kept) {
				t.Errorf("%s was given and is not in:\n%s", lost, written)
			}
		})
	}
}

// writeAgain writes a valid document, and holds that it reads as it was.
func writeAgain(t *testing.T, mesh *MeshService) []byte {
	t.Helper()
	written, err := yaml.Marshal(mesh)
	if err != nil {
		t.Fatal(err)
	}
	again, err := DecodeMeshService(written)
	if err != nil {
		t.Fatalf("what was written cannot be read: %v\n%s", err, written)
	}
	// An empty list is not written.
	if diff := cmp.Diff(mesh, again, cmpopts.EquateEmpty()); diff != "" {
		t.Fatalf("read again (-first +second):\n%s", diff)
	}
	return written
}

// FuzzDecodeMeshService holds that no bytes make DecodeMeshService panic, that it
// returns a document or problems, and that a document survives being written.
func FuzzDecodeMeshService(f *testing.F) {
	for _, path := range files(f, "testdata/mesh/good/*") {
		data, err := os.ReadFile(path)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		mesh, err := DecodeMeshService(data)
		if err != nil {
			var problems Problems
			if !errors.As(err, &problems) || len(problems) == 0 || mesh != nil {
				t.Fatalf("DecodeMeshService = %v, %#v", mesh, err)
			}
			return
		}
		writeAgain(t, mesh)
		WarnMeshService(mesh)
	})
}

func TestDecodeMeshServiceIsStrict(t *testing.T) {
	testRules(t, []rule{
		{"unknown field", `inbuond: []`, "spec.inbuond: unknown field; did you mean inbound?"},
		{"unknown below", `inbound: [{port: 80, adaptiveConcurrency: {min: 3}}]`, "spec.inbound[0].adaptiveConcurrency.min: unknown field; known here: latencyHeadroomPercent, maxConcurrency, measureEvery, minConcurrency"},
		{"empty value", "egress: [{name: a, host: a.example.com, port: 80, timeout: }]", "spec.egress[0].timeout: is empty: give a value or leave it out"},
		{"no unit", "egress: [{name: a, host: a.example.com, port: 80, timeout: 5}]", "spec.egress[0].timeout: must be a duration with its unit as 30s or 1m30s, got 5; did you mean 5s or 5ms?"},
		{"text for a number", `inbound: [{port: "80"}]`, `spec.inbound[0].port: must be a whole number, got "80"; leave the quotes out`},
		{"a number that is too large", `inbound: [{port: 80, maxConnections: 4294967296}]`, `spec.inbound[0].maxConnections: must be a whole number that fits 32 bits, got 4294967296`},
		{"a percentage that is too large", `inbound: [{port: 80, adaptiveConcurrency: {latencyHeadroomPercent: 4294967296}}]`, `spec.inbound[0].adaptiveConcurrency.latencyHeadroomPercent: must be a whole number that fits 32 bits, got 4294967296`},
		{"a port that is too large", `inbound: [{port: 4294967296}]`, `spec.inbound[0].port: must be a port from 1 to 65535, got 4294967296`},
		{"a port that is too small", `inbound: [{port: -4294967296}]`, `spec.inbound[0].port: must be a port from 1 to 65535, got -4294967296`},
		{"YAML's yes", "egress: [{name: y, host: a.example.com, port: 80}]", "spec.egress[0].name: must be a text (in quotes where it looks like a number or a boolean), got true, which YAML makes of y, yes and on, too"},
		{"YAML's no", "egress: [{name: n, host: a.example.com, port: 80}]", "spec.egress[0].name: must be a text (in quotes where it looks like a number or a boolean), got false, which YAML makes of n, no and off, too"},
		{"a Service by its name", "egress: [{name: a, service: cart, port: 80}]", `spec.egress[0].service: must have fields (name, namespace), got "cart"; did you mean {name: cart}?`},
		{"a Service by what is no name", "egress: [{name: a, service: Cart, port: 80}]", `spec.egress[0].service: must have fields (name, namespace), got "Cart"`},
		{"a Service by its name in DNS", "egress: [{name: a, service: cart.shop, port: 80}]", `spec.egress[0].service: must have fields (name, namespace), got "cart.shop"; did you mean {name: cart, namespace: shop}, or host: cart.shop instead of service?`},
		{"a number of retries", destination("retries: 3"), "spec.egress[0].retries: must have fields (attempts, budgetPercent, perTryTimeout, safeMethods, when), got 3; did you mean {attempts: 3}?"},
		{"a switch", destination("outlierDetection: true"), "spec.egress[0].outlierDetection: must have fields (consecutiveErrors, ejectionTime, maxEjectedPercent), got true; did you mean {}?"},
		{"a switch that is off", destination("outlierDetection: false"), "spec.egress[0].outlierDetection: must have fields (consecutiveErrors, ejectionTime, maxEjectedPercent), got false; leave it out to have none"},
		{"a rate", "inbound: [{port: 80, rateLimit: 5}]", "spec.inbound[0].rateLimit: must have fields (burst, per, requests), got 5; did you mean {requests: 5}?"},
		{"a field of another mesh", destination("retries: {numRetries: 3}, circuitBreaker: {}"), "2 problems:\n  spec.egress[0].circuitBreaker: unknown field; did you mean breakers?\n  spec.egress[0].retries.numRetries: unknown field; did you mean attempts?"},
		{"one entry for a list", "inbound: {port: 80}", `spec.inbound: must be a list, got {"port":80}; each entry begins with -`},
		{"one word for a list", "egress: [{name: a, host: a.example.com, port: 80, retries: {when: Reset}}]", `spec.egress[0].retries.when: must be a list, got "Reset"; did you mean ["Reset"]?`},
		{"port 0", `inbound: [{port: 0}]`, `spec.inbound[0].port: must be above 0`},
		{"key twice", "undeclaredEgress: Refused\nundeclaredEgress: Refused", "is not valid YAML: yaml: unmarshal errors:\n  line 6: key \"undeclaredEgress\" already set in map"},
	})
}

// TestDecodeMeshServiceDurations: what people write for a time is told the right way.
func TestDecodeMeshServiceDurations(t *testing.T) {
	const units = "; its units are ms, s, m and h"
	for _, test := range []struct{ given, want string }{
		{"3600", "3600; did you mean 3600s or 3600ms?"},
		{"3601", "3601; did you mean 3601ms?"},
		{"3600001", "3600001" + units},
		{"30", "30; did you mean 30s or 30ms?"},
		{`"500"`, `"500"; did you mean 500s or 500ms?`},
		{"30000", "30000; did you mean 30000ms?"},
		{"0", "0; did you mean 0s?"},
		{"0.5", "0.5; did you mean 0.5s?"},
		{"-5", "-5" + units},
		{"30 s", `"30 s"; did you mean 30s?`},
		{"2sec", `"2sec"; did you mean 2s?`},
		{"1 Minute 30 Seconds", `"1 Minute 30 Seconds"; did you mean 1m30s?`},
		{"2S", `"2S"; did you mean 2s?`},
		{"200 millis", `"200 millis"; did you mean 200ms?`},
		{"1hr", `"1hr"; did you mean 1h?`},
		{"1d", `"1d"` + units},
		{"none", `"none"` + units},
		{"[3s]", `["3s"]` + units},
	} {
		want := "spec.inbound[0].timeout: must be a duration with its unit as 30s or 1m30s, got " + test.want
		if _, err := DecodeMeshService(meshDocument("inbound: [{port: 80, timeout: " + test.given + "}]")); err == nil || err.Error() != want {
			t.Errorf("%s: %v\nwant %s", test.given, err, want)
		}
	}
}

// TestSuggestedDurationsAreTaken: each suggestion, of every field that is a duration, is
// taken when it is followed.
func TestSuggestedDurationsAreTaken(t *testing.T) {
	const to = "egress: [{name: a, host: a.example.com, port: 80, "
	mesh := func(text string) error {
		_, err := DecodeMeshService(meshDocument(text))
		return err
	}
	config := func(text string) error {
		_, err := Decode([]byte("apiVersion: pillion.dev/v1alpha1\nkind: InjectorConfig\n" + text))
		return err
	}
	for _, test := range []struct {
		decode func(string) error
		text   string
		none   bool // 0s is taken
	}{
		{mesh, "inbound: [{port: 80, timeout: %s}]", true},
		{mesh, "inbound: [{port: 80, maxConnectionAge: %s}]", true},
		{mesh, "inbound: [{port: 80, adaptiveConcurrency: {measureEvery: %s}}]", false},
		{mesh, "inbound: [{port: 80, rateLimit: {requests: 1, per: %s}}]", false},
		{mesh, to + "timeout: %s}]", true},
		{mesh, to + "maxConnectionAge: %s}]", true},
		{mesh, to + "clientTimeout: %s}]", false},
		{mesh, to + "idleTimeout: %s}]", false},
		{mesh, to + "connectTimeout: %s}]", false},
		{mesh, to + "dnsRefresh: %s}]", false},
		{mesh, to + "retries: {perTryTimeout: %s}}]", false},
		{mesh, to + "outlierDetection: {ejectionTime: %s}}]", false},
		{mesh, to + "routes: [{to: b, headers: [{name: b, value: b}], fallback: {when: Fails, after: %s}}]}, {name: b, host: b.example.com, port: 80}]", false},
		{config, "lifecycle: {preDrainDelay: %s}", true},
		{config, "lifecycle: {startTimeout: %s}", false},
		{config, "envoy: {upstreamIdleTimeout: %s}", true},
	} {
		for _, given := range []string{"0", "0.5", "1.5", "5", "40", "7200", "3600001", "2 hours", "1 sec"} {
			err := test.decode(fmt.Sprintf(test.text, given))
			if err == nil {
				t.Fatalf(test.text+" is taken", given)
			}
			_, suggested, _ := strings.Cut(err.Error(), "; did you mean ")
			for word := range strings.FieldsSeq(strings.TrimSuffix(suggested, "?")) {
				if word == "or" {
					continue
				}
				if err := test.decode(fmt.Sprintf(test.text, word)); err != nil {
					t.Errorf(test.text+": %s is suggested, and refused: %v", given, word, err)
				}
			}
			if want := given == "5" || given == "1 sec" || given == "0" && test.none; want && suggested == "" || given == "0" && !test.none && suggested != "" {
				t.Errorf(test.text+": %v", given, err)
			}
		}
	}
}

func TestDecodeMeshServiceMetadata(t *testing.T) {
	const head = "apiVersion: pillion.dev/v1alpha1\nkind: MeshService\n"
	tests := []struct{ name, document, want string }{
		{"no metadata", head, "metadata.name: Required value: the name of the service that the document is for"},
		{"empty", head + "metadata:\n", "metadata.name: Required value: the name of the service that the document is for"},
		{"misspelled", head + "metadata: {name: cart, namspace: shop}", "metadata.namspace: unknown field; did you mean namespace?"},
		{"no object", head + "metadata: cart", `metadata: must have fields (name, namespace), got "cart"`},
		{"wrong type", head + "metadata: {name: 5}", "metadata.name: must be a text (in quotes where it looks like a number or a boolean), got 5"},
		{"wrong type below", head + "metadata: {name: cart, labels: {a: 1}}", "metadata.labels: must have only values that are a text (in quotes where it looks like a number or a boolean), got {\"a\":1}"},
		{"wrong type far below", head + "metadata: {name: cart, labels: {a: {b: c}}}", "metadata.labels: must have only values that are a text (in quotes where it looks like a number or a boolean), got {\"a\":{\"b\":\"c\"}}"},
		{"wrong type in a list", head + "metadata: {name: cart, finalizers: [1]}", "metadata.finalizers: must have only values that are a text (in quotes where it looks like a number or a boolean), got [1]"},
		{"a mapping for a text", head + "metadata: {name: {a: b}}", "metadata.name: must be a text (in quotes where it looks like a number or a boolean), got {\"a\":\"b\"}"},
		{"a mapping for a list", head + "metadata: {name: cart, finalizers: {a: b}}", "metadata.finalizers: must be a list, got {\"a\":\"b\"}"},
		{"a list for a mapping", head + "metadata: {name: cart, labels: [a]}", "metadata.labels: must be a mapping, got [\"a\"]"},
		{"no name for an object", head + "metadata: {name: Cart}", `metadata.name: Invalid value: "Cart": must be the name of a service: a-z, 0-9, - and dots, with a letter or digit at both ends`},
		{"too long for a ConfigMap", head + "metadata: {name: " + strings.Repeat("a", LongestMeshService+1) + "}", "metadata.name: Too long: may not be more than 240 bytes"},
		{"no name of a namespace", head + "metadata: {name: cart, namespace: Shop}", `metadata.namespace: Invalid value: "Shop": must be the name of a namespace: 1 to 63 of a-z, 0-9 and -, with a letter or digit at both ends`},
		{"another kind", "apiVersion: pillion.dev/v1alpha1\nkind: InjectorConfig\n", `kind: "InjectorConfig" is not known; accepted is MeshService`},
		{"kind misspelled", "apiVersion: pillion.dev/v1alpha1\nkind: Meshservice\n", `kind: "Meshservice" is not known; did you mean MeshService?`},
		{"kind misspelled, no version", "kind: Meshservice\n", "2 problems:\n  apiVersion: is required: pillion.dev/v1alpha1\n  kind: \"Meshservice\" is not known; did you mean MeshService?"},
		{"no kind", "apiVersion: pillion.dev/v1alpha1\nmetadata: {name: cart}\n", `kind: is required: MeshService`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			mesh, err := DecodeMeshService([]byte(test.document))
			if mesh != nil || err == nil || err.Error() != test.want {
				t.Errorf("DecodeMeshService = %v, %v\nwant %s", mesh, err, test.want)
			}
		})
	}
}
