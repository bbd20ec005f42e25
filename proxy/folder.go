package proxy

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
)

// largestGeneration is far above what a ConfigMap can hold, 1 MiB.
const largestGeneration = 16 << 20

// folder is where kubelet puts a generation, and takes it away again. It does so by
// moving a symlink, so a file that changes is another file. Looking costs microseconds.
type folder struct {
	path string // of the file
	// seen is the file that was read last.
	seen fileIdentity
}

// fileIdentity is another one where a file was replaced or written to.
type fileIdentity struct {
	exists         bool
	device, number uint64
	size           int64
	changed        syscall.Timespec
}

func newFolder(path, name string) *folder { return &folder{path: filepath.Join(path, name)} }

func (f *folder) identity() (fileIdentity, error) {
	info, err := os.Stat(f.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fileIdentity{}, nil
	case err != nil:
		return fileIdentity{}, err
	}
	of, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return fileIdentity{}, fmt.Errorf("looking at %s: no such thing on this system", f.path)
	}
	return fileIdentity{exists: true, device: of.Dev, number: of.Ino, size: of.Size, changed: of.Ctim}, nil
}

// again makes changed say so, whatever is there.
func (f *folder) again() { f.seen = fileIdentity{exists: true} }

// changed says whether read would find another file than the last time.
func (f *folder) changed() bool {
	now, err := f.identity()
	return err != nil || now != f.seen
}

// read is what is there; nil where nothing is.
func (f *folder) read() ([]byte, error) {
	before, err := f.identity()
	if err != nil {
		return nil, fmt.Errorf("looking for the generation: %w", err)
	}
	f.seen = before
	if !before.exists {
		return nil, nil
	}
	file, err := os.Open(f.path)
	if err != nil {
		return nil, fmt.Errorf("reading the generation: %w", err)
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, largestGeneration+1))
	switch {
	case err != nil:
		return nil, fmt.Errorf("reading the generation: %w", err)
	case len(data) > largestGeneration:
		return nil, fmt.Errorf("reading the generation: it has more than %d bytes", largestGeneration)
	}
	return data, nil
}
