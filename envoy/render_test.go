package envoy

import (
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/mesh"
)

func everything(t *testing.T) *v1alpha1.MeshService {
	t.Helper()
	data, err := os.ReadFile("testdata/everything.yaml")
	if err != nil {
		t.Fatal(err)
	}
	document, err := v1alpha1.DecodeMeshService(data)
	if err != nil {
		t.Fatal(err)
	}
	return document
}

func sealed(t *testing.T, document *v1alpha1.MeshService) (*bootstrap.Generation, string) {
	t.Helper()
	service, err := mesh.Resolve(document)
	if err != nil {
		t.Fatal(err)
	}
	g, err := Render(service)
	if err != nil {
		t.Fatal(err)
	}
	data, err := g.Seal()
	if err != nil {
		t.Fatal(err)
	}
	return g, string(data)
}

// TestSameBytes: the order of what has no order changes nothing, nor does another time.
func TestSameBytes(t *testing.T) {
	document := everything(t)
	_, want := sealed(t, document)
	for range 5 {
		slices.Reverse(document.Spec.Inbound)
		slices.Reverse(document.Spec.Egress)
		if _, got := sealed(t, document); got != want {
			t.Fatalf("(-first +now):\n%s", cmp.Diff(want, got))
		}
	}
	read, err := bootstrap.ParseGeneration([]byte(want))
	if err != nil || read.Service != "checkout" || read.Namespace != "shop" {
		t.Errorf("a pod reads %+v, %v", read, err)
	}
}

// TestNames: a cluster that routes lead to has another name when its content changes, and
// only then; one that filter chains lead to never has. Their statistics keep theirs. What
// changes in routes alone, leaves all clusters as they are.
func TestNames(t *testing.T) {
	names := func(document *v1alpha1.MeshService) map[string]string {
		g, _ := sealed(t, document)
		all := map[string]string{}
		for _, c := range g.Clusters {
			var message struct {
				Type string `json:"@type"`
				Name string `json:"name"`
				Stat string `json:"alt_stat_name"`
			}
			plain, _, _ := strings.Cut(c.Name, "@")
			if err := json.Unmarshal(c.Message, &message); err != nil || message.Name != c.Name || message.Stat != plain ||
				message.Type != "type.googleapis.com/envoy.config.cluster.v3.Cluster" {
				t.Errorf("%s: %+v, %v", c.Name, message, err)
			}
			if c.ChangesInPlace() && c.HasAddresses() {
				t.Errorf("%s would change while DNS has not answered", c.Name)
			}
			all[plain] = c.Name
		}
		return all
	}
	changed := func(destination string, change func(*v1alpha1.Destination)) []string {
		document := everything(t)
		before := names(document)
		n := slices.IndexFunc(document.Spec.Egress, func(d v1alpha1.Destination) bool { return d.Name == destination })
		change(&document.Spec.Egress[n])
		var different []string
		for plain, name := range names(document) {
			if before[plain] != name {
				different = append(different, plain)
			}
		}
		slices.Sort(different)
		return different
	}
	if got := changed("payments", func(p *v1alpha1.Destination) { p.IdleTimeout.Duration *= 2 }); !slices.Equal(got, []string{"cache_else_payments", "payments", "sandbox_else_payments"}) {
		t.Errorf("another idleTimeout of payments gives other clusters for %q", got)
	}
	if got := changed("payments", func(p *v1alpha1.Destination) { p.Timeout.Duration *= 2 }); len(got) > 0 {
		t.Errorf("another timeout of payments gives other clusters for %q", got)
	}
	for _, bytes := range []string{"api", "db"} {
		if got := changed(bytes, func(d *v1alpha1.Destination) { d.ConnectTimeout = &metav1.Duration{Duration: 7 * time.Second} }); len(got) > 0 {
			t.Errorf("another connectTimeout of %s gives other clusters for %q", bytes, got)
		}
	}
}

// TestWrongMessages: what Envoy would refuse is an error that says where it is, also
// within a message that is packed in another.
func TestWrongMessages(t *testing.T) {
	service, err := mesh.Resolve(everything(t))
	if err != nil {
		t.Fatal(err)
	}
	for change, test := range map[string]struct {
		wrong func(*mesh.Service)
		says  []string
	}{
		"cluster": {func(s *mesh.Service) { s.Egress[0].ConnectTimeout = 0 }, []string{"MeshService shop/checkout", service.Egress[0].Name, "ConnectTimeout"}},
		"packed":  {func(s *mesh.Service) { s.Inbound[1].Adaptive.MeasureEvery = -1 }, []string{"port 8080", "Interval"}},
		"text":    {func(s *mesh.Service) { s.Egress[1].Address = "\xff" }, []string{service.Egress[1].Name, "UTF-8"}},
	} {
		s := *service
		s.Inbound, s.Egress = slices.Clone(s.Inbound), slices.Clone(s.Egress)
		test.wrong(&s)
		_, err := Render(&s)
		for _, says := range test.says {
			if err == nil || !strings.Contains(err.Error(), says) {
				t.Errorf("%s: the error does not say %q: %v", change, says, err)
			}
		}
	}
}
