package delivery

import (
	"io"
	"strings"
	"sync"
)

// testLog goes to a test's output until its end: a manager says what it hears from those
// that it has stopped after it has returned, and a test that is over panics at that.
type testLog struct {
	mutex sync.Mutex
	to    io.Writer
	lines []string
}

func (l *testLog) Write(text []byte) (int, error) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.lines = append(l.lines, string(text))
	return l.to.Write(text)
}

// count is how many lines had this in them.
func (l *testLog) count(text string) int {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	n := 0
	for _, line := range l.lines {
		if strings.Contains(line, text) {
			n++
		}
	}
	return n
}

func (l *testLog) end() {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	l.to = io.Discard
}
