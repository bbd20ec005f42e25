package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"

	"github.com/pillion-mesh/pillion/lifecycle"
)

// copyProxy puts the pillion-proxy that is beside this program where the sidecar
// runs it: whole or not at all, and in place of an earlier one.
func copyProxy() error {
	own, err := os.Executable()
	if err != nil {
		return fmt.Errorf("looking for pillion-proxy: %w", err)
	}
	return copyProgram(filepath.Join(filepath.Dir(own), filepath.Base(lifecycle.ProxyPath)), lifecycle.ProxyPath)
}

func copyProgram(from, to string) error {
	source, err := os.Open(from)
	if err != nil {
		return fmt.Errorf("copying pillion-proxy: %w: the image of pillion-init must hold it beside pillion-init", err)
	}
	defer source.Close()
	temporary, err := os.CreateTemp(filepath.Dir(to), ".pillion-proxy-*")
	if err != nil {
		return fmt.Errorf("copying pillion-proxy: %w: the volume pillion-bin must be mounted at %s and writable", err, lifecycle.BinDir)
	}
	_, err = io.Copy(temporary, source)
	err = errors.Join(err, temporary.Chmod(0o755), temporary.Close())
	if err == nil {
		err = os.Rename(temporary.Name(), to)
	}
	if err != nil {
		_ = os.Remove(temporary.Name())
		if errors.Is(err, syscall.ENOSPC) {
			return fmt.Errorf("copying pillion-proxy to %s: %w: the volume pillion-bin is full, or the node's disk is", to, err)
		}
		return fmt.Errorf("copying pillion-proxy to %s: %w", to, err)
	}
	return nil
}
