package injector_test

import (
	"bytes"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// future is a field that no version of this program knows.
const future = "fieldFromTheFuture"

// stringMaps are the objects of a pod that are maps of strings, not structs.
var stringMaps = map[string]bool{"labels": true, "annotations": true, "nodeSelector": true, "requests": true, "limits": true, "matchLabels": true}

// addFuture puts a field into every struct of a pod and counts them.
func addFuture(key string, value any, count *int) {
	switch v := value.(type) {
	case map[string]any:
		for k, child := range v {
			addFuture(k, child, count)
		}
		if !stringMaps[key] {
			*count++
			v[future] = map[string]any{"number": json.Number("12345678901234567890.125"), "list": []any{"<&>", nil, true}}
		}
	case []any:
		for _, child := range v {
			addFuture(key, child, count)
		}
	}
}

// removeFuture takes the fields away again and counts those that are as they were.
func removeFuture(value any, count *int) {
	switch v := value.(type) {
	case map[string]any:
		if field, ok := v[future]; ok {
			if cmp.Equal(field, map[string]any{"number": json.Number("12345678901234567890.125"), "list": []any{"<&>", nil, true}}) {
				*count++
			}
			delete(v, future)
		}
		for _, child := range v {
			removeFuture(child, count)
		}
	case []any:
		for _, child := range v {
			removeFuture(child, count)
		}
	}
}

func (c *testCase) checkUnknownFieldsSurvive(t *testing.T, injected []byte) {
	t.Helper()
	pod := decodeAny(t, c.pod)
	var put, kept int
	addFuture("", pod, &put)
	raw, err := json.Marshal(pod)
	if err != nil {
		t.Fatal(err)
	}
	_, withFuture := c.inject(t, raw)
	got := decodeAny(t, withFuture)
	removeFuture(got, &kept)
	if put != kept {
		t.Errorf("of %d unknown fields, %d survived", put, kept)
	}
	if diff := cmp.Diff(decodeAny(t, injected), got); diff != "" {
		t.Errorf("unknown fields change what is injected (-without +with):\n%s", diff)
	}
}

func decodeAny(tb testing.TB, raw []byte) any {
	tb.Helper()
	var value any
	if err := unmarshalNumbers(raw, &value); err != nil {
		tb.Fatal(err)
	}
	return value
}

func unmarshalNumbers(raw []byte, to any) error {
	decoder := json.NewDecoder(bytes.NewReader(raw))
	decoder.UseNumber()
	return decoder.Decode(to)
}
