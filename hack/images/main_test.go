package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
)

// programs are a folder that is as `make images` leaves it, but for their content.
func programs(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	for _, architecture := range []string{"amd64", "arm64"} {
		if err := os.Mkdir(filepath.Join(folder, architecture), 0o700); err != nil {
			t.Fatal(err)
		}
		for _, program := range []string{"pillion-webhook", "pillion-controller", "pillion-init", "pillion-proxy"} {
			write(t, program+" "+architecture, folder, architecture, program)
			write(t, `{"metadata":{"component":{"name":"`+program+`"}},"components":[{"name":"std"}]}`, folder, architecture, program+".cdx.json")
		}
	}
	return folder
}

// iptables is a folder that is as hack/iptables/fetch leaves it, but for the content.
func iptables(t *testing.T) string {
	t.Helper()
	folder := t.TempDir()
	write(t, "libc6 2.36 amd64 0a0b\nlibc6 2.36 arm64 0c0d\n", folder, "packages.txt")
	for _, architecture := range []string{"amd64", "arm64"} {
		if err := os.MkdirAll(filepath.Join(folder, architecture, "usr", "sbin"), 0o700); err != nil {
			t.Fatal(err)
		}
		write(t, "multi", folder, architecture, "usr", "sbin", "xtables-legacy-multi")
		if err := os.Symlink("xtables-legacy-multi", filepath.Join(folder, architecture, "usr", "sbin", "iptables-legacy-save")); err != nil {
			t.Fatal(err)
		}
	}
	return folder
}

func write(t *testing.T, text string, path ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(path...), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestImagesAreReproducible: the same programs, copied at another time to another
// place and under another umask, give the same digests; another program another. The
// umask is the whole process's, so nothing runs beside it.
func TestImagesAreReproducible(t *testing.T) {
	digests := func(change func(folder string)) []string {
		folder := programs(t)
		change(folder)
		var out bytes.Buffer
		m := maker{version: "v1", programs: folder, iptables: iptables(t), output: t.TempDir(), out: &out}
		if err := m.all(); err != nil {
			t.Fatal(err)
		}
		var all []string
		for line := range strings.Lines(out.String()) {
			all = append(all, strings.Fields(line)[0])
		}
		return all
	}
	first := digests(func(string) {})
	if second := digests(func(string) {}); len(first) != 8 || !slices.Equal(first, second) {
		t.Errorf("two builds give\n%v and\n%v", first, second)
	}
	// What another umask left of the files' rights is no part of an image.
	before := syscall.Umask(0o077)
	hardened := digests(func(string) {})
	syscall.Umask(before)
	if !slices.Equal(first, hardened) {
		t.Errorf("with a umask of 077:\n%v\n%v", first, hardened)
	}
	other := digests(func(folder string) {
		write(t, "another", folder, "arm64", "pillion-proxy")
	})
	// Both images of pillion-init have it.
	if other[5] == first[5] || other[7] == first[7] || !slices.Equal(other[:5], first[:5]) || other[6] != first[6] {
		t.Errorf("with another pillion-proxy for arm64 alone:\n%v\n%v", first, other)
	}
}

// TestPush: a registry gets each image for both architectures, with its programs.
func TestPush(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(registry.New())
	t.Cleanup(server.Close)
	repository := strings.TrimPrefix(server.URL, "http://") + "/mesh"
	m := maker{version: "v1", programs: programs(t), output: t.TempDir(), push: repository, out: io.Discard}
	if err := m.all(); err != nil {
		t.Fatal(err)
	}
	reference, err := name.ParseReference(repository + "/pillion-init:v1")
	if err != nil {
		t.Fatal(err)
	}
	index, err := remote.Index(reference)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := index.IndexManifest()
	if err != nil || len(manifest.Manifests) != 2 {
		t.Fatalf("the index has %v, %v", manifest, err)
	}
	for n, architecture := range []string{"amd64", "arm64"} {
		if got := manifest.Manifests[n].Platform.Architecture; got != architecture {
			t.Errorf("image %d is for %s, want %s", n, got, architecture)
		}
		image, err := index.Image(manifest.Manifests[n].Digest)
		if err != nil {
			t.Fatal(err)
		}
		files, err := io.ReadAll(mutate.Extract(image))
		if err != nil || !bytes.Contains(files, []byte("pillion-proxy "+architecture)) {
			t.Errorf("the image for %s lacks its pillion-proxy (%v)", architecture, err)
		}
		config, err := image.ConfigFile()
		if err != nil || config.Config.User != "0:0" || !slices.Equal(config.Config.Entrypoint, []string{"/pillion-init"}) {
			t.Errorf("the image for %s is started as %+v, %v", architecture, config, err)
		}
	}
}

// TestMissingProgram: the error names what was being made, and what is missing.
func TestMissingProgram(t *testing.T) {
	t.Parallel()
	folder := programs(t)
	if err := os.Remove(filepath.Join(folder, "arm64", "pillion-controller")); err != nil {
		t.Fatal(err)
	}
	m := maker{version: "v1", programs: folder, output: t.TempDir(), out: io.Discard}
	if err := m.all(); err == nil || !strings.Contains(err.Error(), "pillion-controller for arm64") {
		t.Errorf("the error is %v", err)
	}
}

// TestIptables: the image for old kernels has iptables beside the programs, with its
// links, and the list of what it is made of names the packages and the programs' parts.
func TestIptables(t *testing.T) {
	t.Parallel()
	output := t.TempDir()
	m := maker{version: "v1", programs: programs(t), iptables: iptables(t), output: output, only: "pillion-init-iptables", out: io.Discard}
	if err := m.all(); err != nil {
		t.Fatal(err)
	}
	packed, err := tarball.ImageFromPath(filepath.Join(output, "pillion-init-iptables-arm64.tar"), nil)
	if err != nil {
		t.Fatal(err)
	}
	links, names := map[string]string{}, []string{}
	files := tar.NewReader(mutate.Extract(packed))
	for header, err := files.Next(); !errors.Is(err, io.EOF); header, err = files.Next() {
		if err != nil {
			t.Fatal(err)
		}
		names = append(names, header.Name)
		links[header.Name] = header.Linkname
	}
	if links["usr/sbin/iptables-legacy-save"] != "xtables-legacy-multi" || !slices.Contains(names, "pillion-proxy") {
		t.Errorf("the image has %q, with the links %v", names, links)
	}
	text, err := os.ReadFile(filepath.Join(output, "pillion-init-iptables-arm64.cdx.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{`"pillion-init"`, `"pillion-proxy"`, `"std"`, "pkg:deb/debian/libc6@2.36?arch=arm64", "pkg:oci/pillion-init-iptables@sha256:"} {
		if strings.Count(string(text), part) != 1 {
			t.Errorf("%s is not once in\n%s", part, text)
		}
	}
}
