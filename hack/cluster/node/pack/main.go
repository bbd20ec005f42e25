// Pack writes an image, as an archive that `ctr images import` takes, from a folder:
//
//	pack -root FOLDER -tag NAME:TAG -user UID:GID -o IMAGE.tar /ENTRYPOINT [ARGUMENT...]
package main

import (
	"archive/tar"
	"bytes"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

func main() {
	root := flag.String("root", "", "`folder` that becomes the image's file system")
	tag := flag.String("tag", "", "`name:tag` of the image")
	user := flag.String("user", "", "`uid:gid` that it runs as")
	output := flag.String("o", "", "`file` to write")
	flag.Parse()
	if err := pack(*root, *tag, *user, *output, flag.Args()); err != nil {
		fmt.Fprintf(os.Stderr, "packing %s from %s: %v\n", *tag, *root, err)
		os.Exit(1)
	}
}

func pack(root, tag, user, output string, entrypoint []string) error {
	reference, err := name.NewTag(tag)
	if err != nil {
		return err
	}
	files, err := archive(root)
	if err != nil {
		return err
	}
	layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(files)), nil })
	if err != nil {
		return err
	}
	image, err := mutate.AppendLayers(empty.Image, layer)
	if err != nil {
		return err
	}
	image, err = mutate.ConfigFile(image, &v1.ConfigFile{
		OS: "linux", Architecture: runtime.GOARCH,
		Config: v1.Config{User: user, Entrypoint: entrypoint, WorkingDir: "/"},
		RootFS: rootFS(image),
	})
	if err != nil {
		return err
	}
	return tarball.WriteToFile(output, reference, image)
}

// rootFS is what an image says of its layers.
func rootFS(image v1.Image) v1.RootFS {
	config, err := image.ConfigFile()
	if err != nil { // of an image that was just made of bytes in memory
		panic(err)
	}
	return config.RootFS
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
	header, err := tar.FileInfoHeader(info, "")
	if err != nil {
		return err
	}
	if header.Name, err = filepath.Rel(root, path); err != nil {
		return err
	}
	header.ModTime, header.AccessTime, header.ChangeTime = time.Unix(0, 0), time.Time{}, time.Time{}
	header.Uid, header.Gid, header.Uname, header.Gname = 0, 0, "", ""
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
