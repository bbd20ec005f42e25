package sandbox

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// ConfigMap is one of the cluster's, which pods mount by its name.
type ConfigMap struct {
	folder   string
	versions int
}

// NewConfigMap makes one that is there when a pod with it in Pod.ConfigMaps starts,
// without a key.
func NewConfigMap(tb testing.TB) *ConfigMap {
	tb.Helper()
	c := &ConfigMap{folder: tb.TempDir()}
	// Everybody in the container may read it.
	if err := os.Chmod(c.folder, 0o755); err != nil {
		tb.Fatal(err)
	}
	c.Write(tb, nil)
	return c
}

// Write changes its content to the given keys, in all pods at once, as kubelet
// does it: the files are links through ..data, which is replaced in one rename.
func (c *ConfigMap) Write(tb testing.TB, keys map[string][]byte) {
	tb.Helper()
	if err := c.write(keys); err != nil {
		tb.Fatalf("writing a ConfigMap's volume: %v", err)
	}
}

func (c *ConfigMap) write(keys map[string][]byte) error {
	c.versions++
	version := fmt.Sprintf("..version_%d", c.versions)
	if err := os.Mkdir(filepath.Join(c.folder, version), 0o755); err != nil {
		return err
	}
	for key, content := range keys {
		if err := os.WriteFile(filepath.Join(c.folder, version, key), content, 0o644); err != nil {
			return err
		}
	}
	data, next := filepath.Join(c.folder, "..data"), filepath.Join(c.folder, "..data_tmp")
	before, err := os.Readlink(data)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return err
	}
	if err := errors.Join(os.Symlink(version, next), os.Rename(next, data)); err != nil {
		return err
	}
	if err := c.link(keys); err != nil || before == "" {
		return err
	}
	return os.RemoveAll(filepath.Join(c.folder, before))
}

// link makes the links that are missing, and removes those whose key is gone.
func (c *ConfigMap) link(keys map[string][]byte) error {
	for key := range keys {
		if err := os.Symlink(filepath.Join("..data", key), filepath.Join(c.folder, key)); err != nil && !errors.Is(err, os.ErrExist) {
			return err
		}
	}
	links, err := filepath.Glob(filepath.Join(c.folder, "[^.]*"))
	if err != nil {
		return err
	}
	for _, path := range links {
		if _, ok := keys[filepath.Base(path)]; !ok {
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}
