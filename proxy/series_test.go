package proxy

import (
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/pillion-mesh/pillion/bootstrap"
)

// scrapeOf is what Envoy answers with so many destinations, each of which has as many
// metrics as it is told, and one port.
func scrapeOf(destinations, metrics int, has func(destination, metric int) bool) string {
	var all strings.Builder
	for metric := range metrics {
		name := fmt.Sprintf("envoy_cluster_upstream_rq_%03d", metric)
		fmt.Fprintf(&all, "# TYPE %s counter\n%s{envoy_cluster_name=\"inbound_8080\"} 1\n", name, name)
		for destination := range destinations {
			if has(destination, metric) {
				fmt.Fprintf(&all, "%s{envoy_cluster_name=\"destination-%04d\"} 1\n", name, destination)
			}
		}
	}
	return all.String()
}

// TestDestinationsAreWhole: where not all fit, a destination is passed on with everything
// or not at all, the first ones by name are, and no fewer than fit. Lines stay in their
// order, and what is held meanwhile is bounded.
func TestDestinationsAreWhole(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for range 200 {
		destinations, metrics, most := 1+random.IntN(30), 1+random.IntN(20), 1+random.IntN(300)
		own := make([]int, destinations)
		has := map[[2]int]bool{}
		text := scrapeOf(destinations, metrics, func(destination, metric int) bool {
			yes := random.IntN(3) > 0
			if has[[2]int{destination, metric}] = yes; yes {
				own[destination]++
			}
			return yes
		})
		fit, total, there := 0, 0, 0
		for ; fit < destinations && total+own[fit] <= most; fit++ {
			total += own[fit]
		}
		for _, count := range own {
			there += min(count, 1)
		}
		for _, count := range own[:fit] {
			there -= min(count, 1)
		}
		want := scrapeOf(destinations, metrics, func(destination, metric int) bool { return destination < fit && has[[2]int{destination, metric}] })
		var out strings.Builder
		left, err := filter(strings.NewReader(text), &out, bootstrap.Statistics{MaxSeries: most})
		if err != nil || left != there || out.String() != want {
			t.Fatalf("%d series of %v: %d destinations are left out, want %d, %v\n%s\nwant\n%s", most, own, left, there, err, out.String(), want)
		}
	}
}

// TestGatherIsBounded holds that a scrape of any size takes memory for what is passed on.
func TestGatherIsBounded(t *testing.T) {
	const most = 1000
	s := gather(bootstrap.Statistics{MaxSeries: most})
	for metric := range 100 {
		for _, destination := range rand.New(rand.NewPCG(1, uint64(metric))).Perm(3000) {
			if err := s.add(sample{destination: fmt.Sprint("d", destination), text: fmt.Sprint(metric)}); err != nil {
				t.Fatal(err)
			}
			if len(s.lines) > 2*most+1 {
				t.Fatalf("%d lines are held, of which %d are passed on at most", len(s.lines), most)
			}
		}
	}
	if got := len(s.destinations); got != most/100 || !slices.IsSorted(s.left) || len(s.left) != 3000-got {
		t.Errorf("%d destinations fit and %d are left, want %d and %d", got, len(s.left), most/100, 3000-most/100)
	}
	var err error
	for n := 0; n <= mostSeries && err == nil; n++ {
		err = s.add(sample{})
	}
	if err == nil {
		t.Error("any number of series that are of no destination are taken")
	}
}

// BenchmarkFilter is a scrape of 1,000 destinations, of which a few fit and of which all do.
func BenchmarkFilter(b *testing.B) {
	text := scrapeOf(1000, 40, func(int, int) bool { return true })
	for _, most := range []int{2000, 50_000} {
		b.Run(fmt.Sprint(most), func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(text)))
			for b.Loop() {
				if _, err := filter(strings.NewReader(text), io.Discard, bootstrap.Statistics{MaxSeries: most}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestSeriesAreBounded, whatever a generation says, and what is of no destination as well.
func TestSeriesAreBounded(t *testing.T) {
	for says, want := range map[int]int{0: mostSeries, 7: 7, mostSeries + 1: mostSeries} {
		if got := gather(bootstrap.Statistics{MaxSeries: says}).most; got != want {
			t.Errorf("maxSeries %d is taken for %d, want %d", says, got, want)
		}
	}
	s := gather(bootstrap.Statistics{})
	for range mostSeries {
		if err := s.add(sample{}); err != nil {
			t.Fatal(err)
		}
	}
	if s.add(sample{}) == nil {
		t.Errorf("more than %d are taken", mostSeries)
	}
}
