// Images makes Pillion's container images of its programs, without Docker:
//
//	images -version VERSION -programs FOLDER -o FOLDER [-iptables FOLDER] [-push REGISTRY/REPOSITORY]
//
// FOLDER of the programs has one folder for each architecture, as amd64 and arm64, with
// what hack/sbom wrote of each program; that of iptables, as hack/iptables/fetch leaves it,
// as well. Each image becomes an archive NAME-ARCHITECTURE.tar, as `docker load` and
// `ctr images import` take it, under the name that the chart uses, and beside it what it
// is made of, NAME-ARCHITECTURE.cdx.json. With -push each is
// pushed as REGISTRY/REPOSITORY/NAME:VERSION, one index for all architectures, with the
// credentials of the Docker configuration. The same programs give the same digests.
package main

import (
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/pillion-mesh/pillion/hack/image"
)

// content is what an image holds, and how it starts.
type content struct {
	name string
	// programs in its root; the first is the one that it runs.
	programs []string
	user     string
	// base is a folder whose folder for the architecture has more files.
	base string
}

// demoApp is the server and client of the demo's pods, which is made only by its name.
const demoApp = "pillion-demo-app"

// contents of all images. Without a folder of iptables there is none with it.
func contents(iptables string) []content {
	// It sets up the kernel's rules, and carries what runs beside Envoy.
	inPods := content{name: "pillion-init", programs: []string{"pillion-init", "pillion-proxy"}, user: "0:0"}
	all := []content{
		{name: "pillion-webhook", programs: []string{"pillion-webhook"}, user: "65532:65532"},
		{name: "pillion-controller", programs: []string{"pillion-controller"}, user: "65532:65532"},
		inPods,
	}
	all = append(all, content{name: demoApp, programs: []string{"app"}, user: "65532:65532"})
	if iptables != "" {
		// For kernels without nf_tables.
		inPods.name, inPods.base = inPods.name+"-iptables", iptables
		all = append(all, inPods)
	}
	return all
}

func main() {
	m := maker{out: os.Stdout}
	flag.StringVar(&m.version, "version", "", "`tag` of the images")
	flag.StringVar(&m.programs, "programs", "", "`folder` with a folder of programs for each architecture")
	flag.StringVar(&m.output, "o", "", "`folder` for the archives")
	flag.StringVar(&m.iptables, "iptables", "", "`folder` with a folder of iptables for each architecture; without it there is no image pillion-init-iptables")
	flag.StringVar(&m.only, "only", "", "`name` of the one image to make")
	flag.StringVar(&m.push, "push", "", "`registry/repository` to push to as well")
	flag.Parse()
	if err := m.all(); err != nil {
		fmt.Fprintln(os.Stderr, "images:", err)
		os.Exit(1)
	}
}

type maker struct {
	version, programs, output, push string
	iptables, only                  string
	out                             io.Writer
}

func (m *maker) all() error {
	folders, err := os.ReadDir(m.programs)
	if err != nil || len(folders) == 0 {
		return fmt.Errorf("looking for architectures in %q: %d found, %w", m.programs, len(folders), err)
	}
	if err := os.MkdirAll(m.output, 0o755); err != nil {
		return fmt.Errorf("making the folder for the archives: %w", err)
	}
	for _, c := range contents(m.iptables) {
		if m.only != "" && c.name != m.only || m.only == "" && c.name == demoApp {
			continue
		}
		index := mutate.IndexMediaType(empty.Index, types.OCIImageIndex)
		for _, folder := range folders {
			architecture := folder.Name()
			packed, err := m.one(c, architecture)
			if err != nil {
				return fmt.Errorf("making the image %s for %s: %w", c.name, architecture, err)
			}
			index = mutate.AppendManifests(index, mutate.IndexAddendum{
				Add: packed, Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: architecture}},
			})
		}
		if m.push == "" {
			continue
		}
		if err := m.pushIndex(c, index); err != nil {
			return fmt.Errorf("pushing the image %s to %s: %w", c.name, m.push, err)
		}
	}
	return nil
}

// one makes an image for one architecture, and writes its archive.
func (m *maker) one(c content, architecture string) (v1.Image, error) {
	root, err := os.MkdirTemp("", "pillion-image-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(root)
	if c.base != "" {
		if err := os.CopyFS(root, os.DirFS(filepath.Join(c.base, architecture))); err != nil {
			return nil, fmt.Errorf("copying its files: %w", err)
		}
	}
	for _, program := range c.programs {
		file, err := os.ReadFile(filepath.Join(m.programs, architecture, program))
		if err != nil {
			return nil, err
		}
		if err := os.WriteFile(filepath.Join(root, program), file, 0o755); err != nil { //nolint:gosec // a program
			return nil, err
		}
	}
	var environment []string
	if c.base != "" {
		environment = []string{"PATH=/usr/sbin"}
	}
	packed, err := image.Of(root, architecture, v1.Config{
		Env:  environment,
		User: c.user, Entrypoint: []string{"/" + c.programs[0]}, WorkingDir: "/",
		Labels: map[string]string{
			"org.opencontainers.image.title": c.name, "org.opencontainers.image.version": m.version,
			"org.opencontainers.image.source":   "https://github.com/pillion-mesh/pillion",
			"org.opencontainers.image.licenses": "Apache-2.0",
		},
	})
	if err != nil {
		return nil, err
	}
	tag, err := name.NewTag("docker.io/pillion-mesh/" + c.name + ":" + m.version)
	if err != nil {
		return nil, err
	}
	archive := filepath.Join(m.output, c.name+"-"+architecture+".tar")
	if err := tarball.WriteToFile(archive, tag, packed); err != nil {
		return nil, fmt.Errorf("writing %s: %w", archive, err)
	}
	digest, err := packed.Digest()
	if err != nil {
		return nil, err
	}
	if err := m.describe(c, architecture, digest.String()); err != nil {
		return nil, err
	}
	_, err = fmt.Fprintf(m.out, "%s  %s\n", digest, archive)
	return packed, err
}

func (m *maker) pushIndex(c content, index v1.ImageIndex) error {
	reference, err := name.NewTag(m.push + "/" + c.name + ":" + m.version)
	if err != nil {
		return err
	}
	if err := remote.WriteIndex(reference, index, remote.WithAuthFromKeychain(authn.DefaultKeychain)); err != nil {
		return err
	}
	digest, err := index.Digest()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(m.out, "%s  %s\n", digest, reference)
	return err
}
