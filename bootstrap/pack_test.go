package bootstrap_test

import (
	"bytes"
	"compress/gzip"
	"errors"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/pillion-mesh/pillion/bootstrap"
)

func generationOf(connections int) *bootstrap.Generation {
	g := &bootstrap.Generation{Service: "shop", Namespace: "default", Created: 1, Number: 2}
	for n := range connections {
		g.Outbound.Connections = append(g.Outbound.Connections, bootstrap.Connection{Name: "to-" + strconv.Itoa(n), Port: 1, Cluster: "c"})
	}
	return g
}

func TestPack(t *testing.T) {
	for name, test := range map[string]struct {
		connections int
		packed      bool
	}{"small": {1, false}, "large": {10_000, true}} {
		t.Run(name, func(t *testing.T) {
			want := generationOf(test.connections)
			file, err := want.Seal()
			if err != nil {
				t.Fatal(err)
			}
			packed, err := bootstrap.Pack(file)
			if err != nil {
				t.Fatal(err)
			}
			if bootstrap.IsPacked(packed) != test.packed || test.packed && len(packed) > len(file)/5 {
				t.Errorf("of %d bytes come %d, compressed: %t", len(file), len(packed), bootstrap.IsPacked(packed))
			}
			got, err := bootstrap.ParseGeneration(packed)
			if diff := cmp.Diff(want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
			if again, err := bootstrap.Pack(file); err != nil || !bytes.Equal(again, packed) {
				t.Errorf("the same file gives other bytes: %v", err)
			}
			for _, at := range []int{1, len(packed) / 2, len(packed) - 1} {
				if _, err := bootstrap.ParseGeneration(packed[:at]); err == nil {
					t.Errorf("cut after %d of %d bytes it is read", at, len(packed))
				}
			}
		})
	}
}

// TestTooLargeToCarry: what no ConfigMap or no pod takes is said with the numbers, and not
// made.
func TestTooLargeToCarry(t *testing.T) {
	random := make([]byte, 1<<20)
	rand.NewChaCha8([32]byte{}).Read(random)
	for name, file := range map[string][]byte{"for a ConfigMap": random, "for a pod": bytes.Repeat([]byte("a"), bootstrap.MaxGeneration+1)} {
		packed, err := bootstrap.Pack(file)
		tooLarge := (*bootstrap.TooLargeError)(nil)
		if packed != nil || !errors.As(err, &tooLarge) || tooLarge.File != len(file) || tooLarge.Packed == 0 {
			t.Errorf("%s: %d bytes and %v", name, len(packed), err)
		}
	}
}

func TestAPackedFileIsBounded(t *testing.T) {
	var packed bytes.Buffer
	writer := gzip.NewWriter(&packed)
	for range 17 {
		if _, err := writer.Write(make([]byte, 1<<20)); err != nil {
			t.Fatal(err)
		}
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := bootstrap.ParseGeneration(packed.Bytes()); err == nil || !strings.Contains(err.Error(), "more than 16777216 bytes") {
		t.Errorf("%d bytes that become 17 MiB: %v", packed.Len(), err)
	}
}
