package proxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/pillion-mesh/pillion/lifecycle"
)

// pollEvery is how often somebody who waits looks again.
const pollEvery = 50 * time.Millisecond

// Wait returns when Envoy serves, and with a sentence about what is missing when that
// takes longer than w.Timeout. The sentence is the container's last words as well,
// since kubelet now ends it.
func Wait(ctx context.Context, w lifecycle.Wait, last LastWords) error {
	ctx, cancel := context.WithTimeout(ctx, w.Timeout)
	defer cancel()
	why := errors.New("pillion-proxy run has not answered on its status port")
	for {
		// The answer to a question that the deadline cut off says less than the last one.
		if asked := ready(ctx, w.StatusPort); asked == nil {
			return nil
		} else if ctx.Err() == nil {
			why = asked
		}
		select {
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return fmt.Errorf("waiting for Envoy to serve: interrupted: %w", why)
			}
			err := fmt.Errorf("waiting for Envoy to serve: not within %s: %w", w.Timeout, why)
			last.Write(err.Error())
			return err
		case <-time.After(pollEvery):
		}
	}
}

// ready is nil where /readyz says so.
func ready(ctx context.Context, port uint16) error {
	ctx, cancel := context.WithTimeout(ctx, 3*answerTime)
	defer cancel()
	url := "http://" + net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port))) + "/readyz"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return err
	}
	response, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(request)
	if err != nil {
		return fmt.Errorf("pillion-proxy run does not answer on its status port: %w", err)
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return nil
	}
	body, _ := io.ReadAll(io.LimitReader(response.Body, longestLastWords))
	return errors.New(strings.Join(strings.Split(strings.TrimSpace(string(body)), "\n"), "; "))
}
