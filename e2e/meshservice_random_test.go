package e2e

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// TestSchemaAcceptsWhatValidateAccepts: a document that pillionctl and the webhook take
// is never refused by the schema. It changes the good documents at random, with values
// from the edges of what is accepted, until enough of them are valid.
func TestSchemaAcceptsWhatValidateAccepts(t *testing.T) {
	seed := *randomSeed
	if seed == 0 {
		seed = uint64(time.Now().UnixNano())
	}
	t.Logf("again with: -random.seed=%d", seed)
	c := apiServer(t)
	defineMeshServices(t, c)
	namespace := newNamespace(t, c, "mesh-", nil)
	mutate := &mutator{rand.New(rand.NewPCG(seed, seed))}
	var good []*unstructured.Unstructured
	for _, path := range goodDocuments(t) {
		document := readObject(t, path)
		unstructured.RemoveNestedField(document.Object, "status")
		good = append(good, document)
	}
	const enough, most = 300, 100_000
	valid, invalid, unseen := 0, 0, 0
	for n := 0; valid < enough && n < most; n++ {
		document := good[mutate.IntN(len(good))].DeepCopy()
		for range 1 + mutate.IntN(3) {
			document.Object["spec"] = mutate.value("", document.Object["spec"])
		}
		text, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := v1alpha1.DecodeMeshService(text); err != nil {
			// The other direction is the webhook's matter; how often it is needed is good to know.
			if invalid++; invalid <= enough && applied(t, c, namespace, document) == nil {
				unseen++
			}
			continue
		}
		valid++
		if err := applied(t, c, namespace, document); err != nil {
			if !apierrors.IsInvalid(err) && !apierrors.IsBadRequest(err) {
				t.Fatal(err)
			}
			t.Errorf("DecodeMeshService accepts it, and kube-apiserver says: %v\n%s", err, text)
		}
	}
	if valid < enough {
		t.Errorf("only %d documents were valid", valid)
	}
	t.Logf("%d valid documents; of %d others the schema alone accepts %d", valid, min(invalid, enough), unseen)
}

// TestSchemaAcceptsEachValueThatValidateAccepts puts each value of its kind into each field
// of the documents that have them all.
func TestSchemaAcceptsEachValueThatValidateAccepts(t *testing.T) {
	c := apiServer(t)
	defineMeshServices(t, c)
	namespace := newNamespace(t, c, "mesh-", nil)
	accepted := 0
	for _, path := range goodDocuments(t) {
		document := readObject(t, path)
		unstructured.RemoveNestedField(document.Object, "status")
		eachLeaf("spec", document.Object["spec"], func(value any) { document.Object["spec"] = value }, func(name string, was any, set func(any)) {
			for _, value := range valuesLike(name, was) {
				set(value)
				text, err := json.Marshal(document)
				if err != nil {
					t.Fatal(err)
				}
				if _, err := v1alpha1.DecodeMeshService(text); err != nil {
					continue
				}
				accepted++
				if err := applied(t, c, namespace, document); err != nil {
					t.Errorf("%s: %v: DecodeMeshService accepts it, and kube-apiserver says: %v", name, value, err)
				}
			}
			set(was)
		})
	}
	if accepted < 500 {
		t.Errorf("only %d values were accepted", accepted)
	}
	t.Logf("%d values", accepted)
}

// eachLeaf visits the values in a document that hold no others, by the name of their
// field.
func eachLeaf(name string, value any, set func(any), visit func(name string, was any, set func(any))) {
	switch v := value.(type) {
	case map[string]any:
		for key, below := range v {
			eachLeaf(key, below, func(value any) { v[key] = value }, visit)
		}
	case []any:
		for n, below := range v {
			eachLeaf(name, below, func(value any) { v[n] = value }, visit)
		}
	default:
		visit(name, value, set)
	}
}

// mutator changes documents.
type mutator struct{ *rand.Rand }

// value is what takes the place of a value in a document.
func (m *mutator) value(name string, value any) any {
	switch v := value.(type) {
	case map[string]any:
		if len(v) == 0 {
			return v
		}
		names := make([]string, 0, len(v))
		for name := range v {
			names = append(names, name)
		}
		slices.Sort(names)
		chosen := names[m.IntN(len(names))]
		if m.IntN(8) == 0 {
			delete(v, chosen)
			return v
		}
		v[chosen] = m.value(chosen, v[chosen])
		return v
	case []any:
		if len(v) == 0 {
			return v
		}
		n := m.IntN(len(v))
		switch m.IntN(10) {
		case 0:
			return slices.Delete(v, n, n+1)
		case 1:
			return []any{}
		}
		v[n] = m.value(name, v[n])
		return v
	}
	return one(m, valuesLike(name, value)...)
}

// numbers are at the edges of what fields accept.
func numbers() []int64 {
	return []int64{0, 1, 2, 5, 6, 50, 100, 101, 1000, 100_000, 14_999, 15_000, 15_099, 15_100, 65_535, 65_536, 1<<31 - 1, -1}
}

// one chooses one of some values.
func one[T any](m *mutator, values ...T) T { return values[m.IntN(len(values))] }

// valuesLike are those that may be tried in place of a value.
func valuesLike(name string, value any) []any {
	if _, text := value.(string); !text {
		return anyOf(numbers())
	}
	durations := []string{"0", "0s", "1ms", "1.5s", "1500ms", "1s", "1h", "60m", "3600s", "0.5h", "1h0m0s", "49ms", "50ms", "1000000us", "1000000000ns", "1000000µs", "-1s", "+1s", ".5s", "1.s", "1d", "5", "1h1ms"}
	names := []string{"users", "users-cache", "a", "0", "a-b", "a.b", "A", "a_b", "-a", "inbound-1", fmt.Sprintf("%063d", 0), fmt.Sprintf("%064d", 0), "a1", "1a", ""}
	hosts := []string{"a", "a.b", "a.example.com", "1.example.com", "a.1a", "0xg.a", "a.0x1", "a.0x", "x0", "1", "a.1", "10.0.0.1", "localhost", "localhost.a", "a.localhost", "a--b.c", "a..b", "a.", "é.example.com", fmt.Sprintf("a.%0250d", 0)}
	methods := []string{"a.B/C", "B/C", "_/_", "a.b.C/D1", "/C", "a/b/c", "a.B/", "1/C", "S", "shop.v1.Cart", "Get", "List", "_", "é"}
	headers := []string{"x", "X-A", "a!#$%&'*+-.^_`|~9", ":path", "host", "Host", "hosts", "a b", "v", "a  b", " v", "v ", "~", "\t", "é", "\"v\\"}
	words := []string{"HTTP", "HTTP1", "HTTP2", "GRPC", "TLS", "TCP", "Passthrough", "Refused", "Standard", "Detailed", "None", "Absent", "Fails", "ConnectFailure", "RefusedStream", "Reset", "Unavailable", "x"}
	pools := map[string][]string{
		"name": slices.Concat(names, headers), "to": names, "namespace": names, "host": hosts, "value": headers, "service": methods,
		"methods": methods, "safeMethods": methods, "protocol": words, "undeclaredEgress": words, "destinations": words, "when": words,
	}
	pool, known := pools[name]
	if !known {
		pool = durations
	}
	return anyOf(pool)
}

func anyOf[T any](values []T) []any {
	all := make([]any, len(values))
	for n, value := range values {
		all[n] = value
	}
	return all
}
