package dataplane

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/pillion-mesh/pillion/e2e/sandbox"
)

// readHead is a request's or answer's head, line by line.
func readHead(from *bufio.Reader) ([]string, error) {
	var lines []string
	for {
		line, err := from.ReadString('\n')
		if err != nil {
			return lines, fmt.Errorf("behind %q: %w", lines, err)
		}
		if line = strings.TrimSuffix(line, "\r\n"); line == "" {
			return lines, nil
		}
		lines = append(lines, line)
	}
}

// TestNothingIsChanged sends a request byte by byte as an app wrote it through both
// Envoys, and an answer back: each arrives as it was sent, in the same order and the
// same case, with nothing added but what docs/limits.md names.
func TestNothingIsChanged(t *testing.T) {
	t.Parallel()
	a, b := sandbox.NewPod(t, "a"), sandbox.NewPod(t, "b")
	run(t, a, want{}, sandbox.App{})
	run(t, b, want{}, sandbox.App{})
	request := []string{
		"PUT /a/../b//c?q=%zz&x=%2F HTTP/1.1", "Host: shop.test:8080", "x-lower: 1", "X-MiXeD-Case: two  spaces", "X-Empty: ",
		"Cookie: a=1; b=2", "Accept-Encoding: br", "User-Agent: theirs/1.0", "X-Request-Id: mine", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https", "content-length: 4",
	}
	answer := []string{
		"HTTP/1.1 299 Unusual Reason", "server: theirs", "Date: Mon, 23 Nov 2026 00:00:00 GMT", "x-lower: 1", "X-MiXeD-Case: two", "Set-Cookie: a=1", "Set-Cookie: b=2",
		"Vary: Accept", "content-length: 2",
	}
	arrived := make(chan []string, 1)
	serveOn(t, b, httpPort, accept(func(c net.Conn) {
		reader := bufio.NewReader(c)
		head, err := readHead(reader)
		if err != nil {
			head = append(head, err.Error())
		}
		_, _ = io.ReadFull(reader, make([]byte, 4))
		arrived <- head
		_, _ = io.WriteString(c, strings.Join(answer, "\r\n")+"\r\n\r\nok")
	}))
	ctx := t.Context()
	c, err := a.Dial(ctx, "tcp", net.JoinHostPort(b.IPv4.String(), httpPort))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(10 * time.Second))
	if _, err := io.WriteString(c, strings.Join(request, "\r\n")+"\r\n\r\nbody"); err != nil {
		t.Fatal(err)
	}
	got, err := readHead(bufio.NewReader(c))
	if err != nil {
		t.Fatal(err)
	}
	// Envoy writes the standard's reason for a status that it knows, and none for others.
	answer[0], got[0] = strings.Join(strings.Fields(answer[0])[:2], " "), strings.Join(strings.Fields(got[0])[:2], " ")
	select {
	case head := <-arrived:
		if diff := cmp.Diff(sorted(request), sorted(head)); diff != "" {
			t.Errorf("the request: sent -, arrived +\n%s", diff)
		}
	default:
		t.Errorf("the request did not arrive: %q", got)
	}
	if diff := cmp.Diff(sorted(answer), sorted(got)); diff != "" {
		t.Errorf("the answer: sent -, arrived +\n%s", diff)
	}
}

// sorted keeps the first line first: the order of fields with different names says
// nothing.
func sorted(head []string) []string {
	fields := slices.Clone(head)
	slices.Sort(fields[1:])
	return fields
}
