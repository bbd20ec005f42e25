// Package image makes container images of files, without Docker: one layer, the same
// bytes whenever the files are the same.
package image

import (
	"archive/tar"
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// Of is the image that has a folder's files for its file system.
func Of(root, architecture string, config v1.Config) (v1.Image, error) {
	files, err := archive(root)
	if err != nil {
		return nil, fmt.Errorf("reading the files in %s: %w", root, err)
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil })
	if err != nil {
		return nil, fmt.Errorf("packing the files in %s: %w", root, err)
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return nil, fmt.Errorf("packing the files in %s: %w", root, err)
	}
	file, err := image.ConfigFile()
	if err != nil {
		return nil, fmt.Errorf("reading the image's configuration: %w", err)
	}
	file = file.DeepCopy()
	file.OS, file.Architecture, file.Config = "linux", architecture, config
	// When a file was built says nothing about it, and would make two builds differ.
	file.History = nil
	return mutate.ConfigFile(image, file)
}

// archive is the folder as a layer that is the same whenever the files are.
func archive(root string) ([]byte, error) {
	var layer bytes.Buffer
	w := tar.NewWriter(&layer)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || path == root {
			return err
		}
		return add(w, root, path, entry)
	})
	if err != nil {
		return nil, err
	}
	return layer.Bytes(), w.Close()
}

func add(w *tar.Writer, root, path string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	target := ""
	if info.Mode()&fs.ModeSymlink != 0 {
		if target, err = os.Readlink(path); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, target)
	if err != nil {
		return err
	}
	if header.Name, err = filepath.Rel(root, path); err != nil {
		return err
	}
	header.ModTime, header.AccessTime, header.ChangeTime = time.Unix(0, 0), time.Time{}, time.Time{}
	header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
	header.Mode = mode(info.Mode())
	if err := w.WriteHeader(header); err != nil || !info.Mode().IsRegular() {
		return err
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	_, err = w.Write(content)
	return err
}

// mode is what everybody may do. The machine's umask, which takes rights from what it
// writes, has no part in it: programs run as a user that owns none of the files.
func mode(of fs.FileMode) int64 {
	switch {
	case of&fs.ModeSticky != 0: // as /tmp
		return 0o1777
	case of.IsDir() || of&0o111 != 0:
		return 0o755
	default:
		return 0o644
	}
}
