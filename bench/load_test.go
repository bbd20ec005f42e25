package bench

import (
	"bytes"
	"crypto/tls"
	"io"
	"net/http"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// BenchmarkHTTPS asks the program and the floor over TLS 1.3 and HTTP/1.1, as
// kube-apiserver does, with the service pod. CPU and memory are the server's.
func BenchmarkHTTPS(b *testing.B) {
	c := serviceOf(b)
	servers := []*server{startWebhook(b), startConstant(b, c.uid)}
	for _, connections := range []int{1, 8, 64} {
		for _, s := range servers {
			b.Run("connections="+strconv.Itoa(connections)+"/"+s.name, func(b *testing.B) { load(b, s, c, connections) })
		}
	}
}

func serviceOf(b *testing.B) *reviewCase {
	b.Helper()
	cases := corpus(b, newAdmission(b))
	for _, c := range cases {
		if c.name == "service" {
			return c
		}
	}
	return cases[0]
}

// load sends b.N requests over so many connections.
func load(b *testing.B, s *server, c *reviewCase, connections int) {
	b.Helper()
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig:     &tls.Config{RootCAs: s.roots, MinVersion: tls.VersionTLS13, NextProtos: []string{"http/1.1"}},
		MaxIdleConnsPerHost: connections, MaxConnsPerHost: connections,
	}}
	defer client.CloseIdleConnections()
	ask := func() bool {
		response, err := client.Post(s.url, "application/json", bytes.NewReader(c.review))
		if err != nil {
			return false
		}
		defer response.Body.Close()
		_, err = io.Copy(io.Discard, response.Body)
		return err == nil && response.StatusCode == http.StatusOK
	}
	everywhere(connections, connections, func(int) { ask() }) // handshakes are not measured
	took := make([]time.Duration, b.N)
	var failed atomic.Int64
	before := s.cpu(b)
	b.ResetTimer()
	everywhere(connections, b.N, func(n int) {
		start := time.Now()
		if !ask() {
			failed.Add(1)
		}
		took[n] = time.Since(start)
	})
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "rps")
	b.ReportMetric(float64(took[b.N/2].Microseconds()), "p50-us")
	b.ReportMetric(float64(took[b.N*99/100].Microseconds()), "p99-us")
	b.ReportMetric(float64(failed.Load()), "errors")
	b.ReportMetric(float64((s.cpu(b)-before).Microseconds())/float64(b.N), "cpu-us/op")
	b.ReportMetric(s.resident(b), "RSS-MiB")
}

// everywhere runs do for each number below count, so many at a time.
func everywhere(atOnce, count int, do func(int)) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range atOnce {
		all.Go(func() {
			for n := int(next.Add(1)) - 1; n < count; n = int(next.Add(1)) - 1 {
				do(n)
			}
		})
	}
	all.Wait()
}
