package bench

import (
	"encoding/json"
	"fmt"
	"testing"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/envoy"
	"github.com/pillion-mesh/pillion/mesh"
)

// manyDestinations is a document with a thousand of them, each with what owners
// usually want.
func manyDestinations() *v1alpha1.MeshService {
	document := &v1alpha1.MeshService{}
	document.Name, document.Namespace = "checkout", "shop"
	for n := range 1000 {
		document.Spec.Egress = append(document.Spec.Egress, v1alpha1.Destination{
			Name: fmt.Sprint("destination-", n), Service: &v1alpha1.ServiceReference{Name: fmt.Sprint("service-", n)}, Port: 8080,
			Retries: &v1alpha1.Retries{}, OutlierDetection: &v1alpha1.OutlierDetection{},
		})
	}
	v1alpha1.DefaultMeshService(document)
	return document
}

// BenchmarkMesh is what a generation of 1,000 destinations costs, step by step. Less
// than its floor, which writes the same bytes once, it cannot be.
func BenchmarkMesh(b *testing.B) {
	document := manyDestinations()
	service, err := mesh.Resolve(document)
	if err != nil {
		b.Fatal(err)
	}
	generation, err := envoy.Render(service)
	if err != nil {
		b.Fatal(err)
	}
	sealed, err := generation.Seal()
	if err != nil {
		b.Fatal(err)
	}
	var values any
	if err := json.Unmarshal(sealed, &values); err != nil {
		b.Fatal(err)
	}
	for _, step := range []struct {
		name string
		do   func() error
	}{
		{"resolve", func() error { _, err := mesh.Resolve(document); return err }},
		{"render", func() error { _, err := envoy.Render(service); return err }},
		{"render-floor", func() error { _, err := json.Marshal(values); return err }},
		{"parse", func() error { _, err := bootstrap.ParseGeneration(sealed); return err }},
		{"diff", func() error { mesh.Diff(service, service); return nil }},
	} {
		b.Run(step.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := step.do(); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(len(sealed)), "file-bytes")
		})
	}
}
