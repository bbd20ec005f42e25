package main

import (
	"bytes"
	"io"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
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
			if err := os.WriteFile(filepath.Join(folder, architecture, program), []byte(program+" "+architecture), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return folder
}

// TestImagesAreReproducible: the same programs, copied at another time to another
// place, give the same digests; another program another.
func TestImagesAreReproducible(t *testing.T) {
	t.Parallel()
	digests := func(change func(folder string)) []string {
		folder := programs(t)
		change(folder)
		var out bytes.Buffer
		m := maker{version: "v1", programs: folder, output: t.TempDir(), out: &out}
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
	if second := digests(func(string) {}); len(first) != 6 || !slices.Equal(first, second) {
		t.Errorf("two builds give\n%v and\n%v", first, second)
	}
	other := digests(func(folder string) {
		if err := os.WriteFile(filepath.Join(folder, "arm64", "pillion-proxy"), []byte("another"), 0o600); err != nil {
			t.Fatal(err)
		}
	})
	if other[5] == first[5] || !slices.Equal(other[:5], first[:5]) {
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
