package proxy

import (
	"context"
	"os"
	"strconv"
	"strings"
	"time"
)

// appEnds is closed when no process of another user has a TCP socket in the pod any
// more, on two looks in a row: the app has ended, as far as the network goes.
func appEnds(ctx context.Context, own int) <-chan struct{} {
	ended := make(chan struct{})
	go func() {
		quiet := 0
		for quiet < 2 {
			if othersUseNetwork(own) {
				quiet = 0
			} else {
				quiet++
			}
			select {
			case <-ctx.Done():
				return
			case <-time.After(200 * time.Millisecond):
			}
		}
		close(ended)
	}()
	return ended
}

// othersUseNetwork says whether the kernel's list of the pod's TCP sockets has one of
// another user than the proxy's own. A list that cannot be read says no.
func othersUseNetwork(own int) bool {
	for _, path := range [...]string{"/proc/net/tcp", "/proc/net/tcp6"} {
		content, err := os.ReadFile(path)
		if err == nil && usedByOthers(string(content), own) {
			return true
		}
	}
	return false
}

// usedByOthers reads a table like /proc/net/tcp: behind a line of headings, the
// fourth field is the socket's state and the eighth its user.
func usedByOthers(table string, own int) bool {
	const state, user = 3, 7
	for line := range strings.Lines(table) {
		fields := strings.Fields(line)
		if len(fields) <= user {
			continue
		}
		uid, err := strconv.Atoi(fields[user])
		if err != nil || uid == own {
			continue
		}
		switch fields[state] {
		case "01", "02", "03", "08", "0A": // ESTABLISHED, SYN_SENT, SYN_RECV, CLOSE_WAIT, LISTEN
			return true
		}
	}
	return false
}
