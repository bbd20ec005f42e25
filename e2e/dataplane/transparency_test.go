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

// exchange is a request and its answer as the app and the server write them.
type exchange struct {
	request []string
	body    string
	answer  []string
}

func exchanges() map[string]exchange {
	const body = "4"
	return map[string]exchange{
		"what is said stays": {
			request: []string{
				"PUT /a/../b//c?q=%zz&x=%2F HTTP/1.1", "Host: shop.test:8080", "x-lower: 1", "X-MiXeD-Case: two  spaces", "X-Empty: ",
				"Cookie: a=1; b=2", "Accept-Encoding: br", "User-Agent: theirs/1.0", "X-Request-Id: mine", "X-Forwarded-For: 192.0.2.7", "X-Forwarded-Proto: https", "X-Forwarded-Client-Cert: By=theirs", "content-length: " + body,
			},
			body: "body",
			answer: []string{
				"HTTP/1.1 299 Unusual Reason", "server: theirs", "Date: Mon, 23 Nov 2026 00:00:00 GMT", "x-lower: 1", "X-MiXeD-Case: two", "Set-Cookie: a=1", "Set-Cookie: b=2",
				"Vary: Accept", "content-length: 0",
			},
		},
		"what is not said is not added": {
			request: []string{"GET / HTTP/1.1", "Host: x"},
			answer:  []string{"HTTP/1.1 200 Fine", "Date: Mon, 23 Nov 2026 00:00:00 GMT", "content-length: 0"},
		},
		"the server says whether it wants the body": {
			request: []string{"POST / HTTP/1.1", "Host: x", "Expect: 100-continue", "content-length: " + body},
			answer:  []string{"HTTP/1.1 417 No", "Date: Mon, 23 Nov 2026 00:00:00 GMT", "content-length: 0"},
		},
	}
}

// TestNothingIsChanged sends requests byte by byte as an app wrote them through both
// Envoys, and answers back: each arrives as it was sent, in the same case, with nothing
// added.
func TestNothingIsChanged(t *testing.T) {
	t.Parallel()
	a, b := sandbox.NewPod(t, "a"), sandbox.NewPod(t, "b")
	run(t, a, want{}, sandbox.App{})
	run(t, b, want{}, sandbox.App{})
	listener := b.Listen(t, "tcp", ":"+httpPort)
	for name, e := range exchanges() {
		t.Run(name, func(t *testing.T) { e.check(t, a, listener, b.IPv4.String()) })
	}
}

func (e exchange) check(t *testing.T, from *sandbox.Pod, listener net.Listener, host string) {
	t.Helper()
	arrived := make(chan []string, 1)
	go func() {
		c, err := listener.Accept()
		if err != nil {
			return
		}
		defer c.Close()
		reader := bufio.NewReader(c)
		head, err := readHead(reader)
		if err != nil {
			head = append(head, err.Error())
		}
		_, _ = io.ReadFull(reader, make([]byte, len(e.body)))
		arrived <- head
		_, _ = io.WriteString(c, strings.Join(e.answer, "\r\n")+"\r\n\r\n")
	}()
	c, err := from.DialToSpeak(t.Context(), "tcp", net.JoinHostPort(host, httpPort))
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	_ = c.SetDeadline(time.Now().Add(longest))
	if _, err := io.WriteString(c, strings.Join(e.request, "\r\n")+"\r\n\r\n"+e.body); err != nil {
		t.Fatal(err)
	}
	got, err := readHead(bufio.NewReader(c))
	if err != nil {
		t.Fatal(err)
	}
	got = slices.DeleteFunc(got, func(line string) bool { return line == "connection: close" && !strings.Contains(e.answer[0], "200") })
	select {
	case head := <-arrived:
		if diff := cmp.Diff(sorted(e.request), sorted(head)); diff != "" {
			t.Errorf("the request: sent -, arrived +\n%s", diff)
		}
	default:
		t.Errorf("the request did not arrive: %q", got)
	}
	if diff := cmp.Diff(sorted(e.answer), sorted(got)); diff != "" {
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
