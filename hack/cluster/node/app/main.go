// App is the program in the pods of tests on a real node.
//
//	app serve                    HTTP/1.1 and HTTP/2 without TLS on :8080, gRPC on :9000
//	app get [-tries N] [-quit URL] URL
//	                             until the answer is 200, half a second apart; prints it, and
//	                             then sends a POST to the other URL
//	app load [-rate N] [-for D] HOST
//	                             calls a serving app in all ways; prints what failed as JSON
//	app damage -certificates FOLDER
//	                             a mutating webhook on :8443 that harms what others injected
//	app sleep DURATION
//	app pause                    holds a pod's namespaces, and reaps what lost its parent
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "app:", err)
		stop()
		os.Exit(1) //nolint:gocritic // stop has run
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return errors.New("usage: app serve|get|load|damage|sleep|pause")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	tries := flags.Int("tries", 1, "")
	quit := flags.String("quit", "", "")
	rate := flags.Int("rate", 200, "requests a second")
	certificates := flags.String("certificates", "", "folder with tls.crt and tls.key")
	duration := flags.Duration("for", 10*time.Second, "")
	if err := flags.Parse(args[1:]); err != nil {
		return err
	}
	switch args[0] {
	case "serve":
		return serve(ctx)
	case "get":
		return get(ctx, flags.Arg(0), *tries, *quit)
	case "load":
		ctx, cancel := context.WithTimeout(ctx, *duration)
		defer cancel()
		return json.NewEncoder(os.Stdout).Encode(load(ctx, flags.Arg(0), *rate))
	case "damage":
		return damage(ctx, *certificates)
	case "sleep":
		d, err := time.ParseDuration(flags.Arg(0))
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
		case <-time.After(d):
		}
		return nil
	case "pause":
		return pause(ctx)
	}
	return fmt.Errorf("%q is not a command of app", args[0])
}

// serve ends as a careful app does: it finishes what it has begun.
func serve(ctx context.Context) error {
	host, err := os.Hostname()
	if err != nil {
		return err
	}
	server := &http.Server{Addr: ":8080", Protocols: new(http.Protocols), ReadHeaderTimeout: 10 * time.Second}
	server.Protocols.SetHTTP1(true)
	server.Protocols.SetUnencryptedHTTP2(true)
	server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/stream" {
			stream(w)
			return
		}
		_, _ = fmt.Fprintf(w, "pod=%s path=%s remote=%s via=%q\n", host, r.URL.Path, r.RemoteAddr, r.Header.Get("X-Envoy-Expected-Rq-Timeout-Ms")+r.Header.Get("X-Request-Id"))
	})
	var config net.ListenConfig
	listener, err := config.Listen(ctx, "tcp", ":9000")
	if err != nil {
		return err
	}
	rpc := grpc.NewServer()
	grpc_health_v1.RegisterHealthServer(rpc, health.NewServer())
	failed := make(chan error, 2)
	go func() { failed <- rpc.Serve(listener) }()
	go func() { failed <- server.ListenAndServe() }()
	fmt.Println("app: serving")
	select {
	case err := <-failed:
		return err
	case <-ctx.Done():
	}
	end, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	go rpc.GracefulStop()
	return server.Shutdown(end)
}

// Stream is an answer that takes two seconds.
const chunks = 20

func stream(w http.ResponseWriter) {
	for range chunks {
		if _, err := io.WriteString(w, "chunk\n"); err != nil {
			return
		}
		_ = http.NewResponseController(w).Flush()
		time.Sleep(2 * time.Second / chunks)
	}
}

func get(ctx context.Context, url string, tries int, quit string) error {
	client := &http.Client{Timeout: 5 * time.Second}
	for try := 1; ; try++ {
		err := show(ctx, client, http.MethodGet, url)
		if err == nil && quit != "" {
			return show(ctx, client, http.MethodPost, quit)
		}
		if err == nil || try >= tries || ctx.Err() != nil {
			return err
		}
		time.Sleep(500 * time.Millisecond)
	}
}

func show(ctx context.Context, client *http.Client, method, url string) error {
	request, err := http.NewRequestWithContext(ctx, method, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return fmt.Errorf("HTTP %s: %s, %w", response.Status, body, err)
	}
	fmt.Printf("%sserver=%s\n", body, response.Header.Get("Server"))
	return nil
}

// pause ends at once when it is told to.
func pause(ctx context.Context) error {
	children := make(chan os.Signal, 1)
	signal.Notify(children, syscall.SIGCHLD)
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-children:
			for {
				if pid, err := syscall.Wait4(-1, nil, syscall.WNOHANG, nil); pid <= 0 || err != nil {
					break
				}
			}
		}
	}
}
