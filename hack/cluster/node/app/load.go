package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// Report is what a load came to.
type Report struct {
	Requests int `json:"requests"`
	Failed   int `json:"failed"`
	// First failures, of which a load keeps some.
	First []string `json:"first,omitempty"`
}

// load calls a host in every way until ctx is done, so many times a second in all.
// Nobody repeats a request: each failure counts.
func load(ctx context.Context, host string, rate int) Report {
	callers := []struct {
		kind  string
		share int // of the rate, in percent
		many  int // clients, each with a connection of its own
	}{
		{kind: "keep-alive", share: 50, many: 10},
		{kind: "new connections", share: 15, many: 5},
		{kind: "gRPC", share: 30, many: 5},
		{kind: "stream", share: 5, many: 20},
	}
	var (
		report Report
		mutex  sync.Mutex
		all    sync.WaitGroup
	)
	for _, c := range callers {
		pause := time.Duration(float64(time.Second) * float64(c.many) * 100 / float64(rate*c.share))
		for n := range c.many {
			call := caller(c.kind, host)
			all.Go(func() {
				time.Sleep(pause * time.Duration(n) / time.Duration(c.many))
				tick := time.NewTicker(pause)
				defer tick.Stop()
				for ctx.Err() == nil {
					// What was begun goes on to its end.
					one, cancel := context.WithTimeout(context.WithoutCancel(ctx), 15*time.Second)
					err := call(one)
					cancel()
					mutex.Lock()
					report.Requests++
					if err != nil {
						report.Failed++
						if len(report.First) < 20 {
							report.First = append(report.First, fmt.Sprintf("%s %s: %v", time.Now().Format("15:04:05.000"), c.kind, err))
						}
					}
					mutex.Unlock()
					select {
					case <-ctx.Done():
					case <-tick.C:
					}
				}
			})
		}
	}
	all.Wait()
	return report
}

func caller(kind, host string) func(context.Context) error {
	transport := &http.Transport{DisableKeepAlives: kind == "new connections"}
	switch kind {
	case "gRPC":
		return rpc(host)
	case "stream":
		return func(ctx context.Context) error { return post(ctx, transport, host, "/stream") }
	default:
		return func(ctx context.Context) error { return post(ctx, transport, host, "/") }
	}
}

// post sends a body that cannot be sent again, so that Go's client does not.
func post(ctx context.Context, transport *http.Transport, host, path string) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+host+":8080"+path, io.MultiReader(strings.NewReader("hello")))
	if err != nil {
		return err
	}
	request.ContentLength = 5
	response, err := transport.RoundTrip(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	switch {
	case err != nil:
		return err
	case response.StatusCode != http.StatusOK:
		return fmt.Errorf("HTTP %s: %.200s", response.Status, body)
	case path == "/stream" && strings.Count(string(body), "chunk\n") != chunks:
		return fmt.Errorf("the stream ended after %d of %d chunks", strings.Count(string(body), "chunk\n"), chunks)
	}
	return nil
}

// rpc makes unary calls on one channel, without retries or waiting.
func rpc(host string) func(context.Context) error {
	connection, err := grpc.NewClient("dns:///"+host+":9000", grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithDisableRetry())
	return func(ctx context.Context) error {
		if err != nil {
			return err
		}
		answer, err := grpc_health_v1.NewHealthClient(connection).Check(ctx, &grpc_health_v1.HealthCheckRequest{})
		if err == nil && answer.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
			err = errors.New("not serving")
		}
		return err
	}
}
