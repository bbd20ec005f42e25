// Pack writes an image, as an archive that `ctr images import` takes, from a folder:
//
//	pack -root FOLDER -tag NAME:TAG -user UID:GID -o IMAGE.tar /ENTRYPOINT [ARGUMENT...]
package main

import (
	"flag"
	"fmt"
	"os"
	"runtime"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/tarball"

	"github.com/pillion-mesh/pillion/hack/image"
)

func main() {
	root := flag.String("root", "", "`folder` that becomes the image's file system")
	tag := flag.String("tag", "", "`name:tag` of the image")
	user := flag.String("user", "", "`uid:gid` that it runs as")
	output := flag.String("o", "", "`file` to write")
	flag.Parse()
	if err := pack(*root, *tag, *output, v1.Config{User: *user, Entrypoint: flag.Args(), WorkingDir: "/"}); err != nil {
		fmt.Fprintf(os.Stderr, "packing %s from %s: %v\n", *tag, *root, err)
		os.Exit(1)
	}
}

func pack(root, tag, output string, config v1.Config) error {
	reference, err := name.NewTag(tag)
	if err != nil {
		return err
	}
	packed, err := image.Of(root, runtime.GOARCH, config)
	if err != nil {
		return err
	}
	return tarball.WriteToFile(output, reference, packed)
}
