package webhook

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"time"
)

const (
	// pollInterval is how often files are looked at.
	pollInterval = time.Second
	// maxFile is how large one may be, in bytes: as large as a ConfigMap.
	maxFile = 1 << 20
)

// polledFiles are files that are used together, as a certificate and its key.
//
// They are read again and compared, every second, rather than watched: inotify
// watches what a name pointed to once, and is lost when kubelet swaps the ..data
// link, so that a watch has to be backed by a poll anyway; and a node has few
// inotify instances. Reading some kilobytes a second costs nothing that can be
// measured.
type polledFiles struct {
	// what they are, for the log.
	what  string
	paths []string
	// use takes the files' contents in the order of paths.
	use     func(contents [][]byte) error
	log     *slog.Logger
	metrics reloadMetrics

	// tried is what use was called with last, whether it could be used or not.
	tried [][]byte
	// unread is the last error in reading, so that it is logged once.
	unread string
	// used says that some contents were good.
	used bool
}

// poll looks at the files every pollInterval until ctx is done.
func (f *polledFiles) poll(ctx context.Context) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			f.check()
		}
	}
}

// check reads the files and uses them if they have changed since the last time.
// What was used before stays in force if they cannot be read or used; either is
// logged once.
func (f *polledFiles) check() {
	contents, err := f.read()
	if err != nil {
		if f.unread != err.Error() {
			f.report(err)
		}
		f.unread, f.tried = err.Error(), nil
		return
	}
	f.unread = ""
	if equal(contents, f.tried) {
		return
	}
	f.tried = contents
	f.report(f.use(contents))
}

func (f *polledFiles) report(err error) {
	f.metrics.record(err)
	if err != nil {
		message := f.what + " cannot be used; not ready before there is one that can"
		if f.used {
			message = f.what + " cannot be used; the last good one stays in force"
		}
		f.log.Error(message, "files", f.paths, "error", err)
		return
	}
	f.used = true
	f.log.Info(f.what+" loaded", "files", f.paths)
}

func (f *polledFiles) read() ([][]byte, error) {
	contents := make([][]byte, len(f.paths))
	for n, path := range f.paths {
		content, err := readFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading the %s: %w", f.what, err)
		}
		contents[n] = content
	}
	return contents, nil
}

func readFile(path string) ([]byte, error) {
	file, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	content, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(content) > maxFile {
		err = fmt.Errorf("%s has more than %d bytes", path, maxFile)
	}
	return content, err
}

func equal(a, b [][]byte) bool {
	if len(a) != len(b) {
		return false
	}
	for n := range a {
		if !bytes.Equal(a[n], b[n]) {
			return false
		}
	}
	return true
}
