// Command sbom writes what each program is made of, as CycloneDX 1.6: the modules that
// the linker really put into it, which the program itself knows, with their checksums
// and licences. The same program gives the same bytes.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
)

func main() {
	version := flag.String("version", "dev", "`version` of the programs, as they were built with")
	folder := flag.String("o", ".", "`folder` for the NAME.cdx.json files")
	flag.Usage = func() {
		fmt.Fprintln(os.Stderr, "usage: sbom [OPTIONS] PROGRAM... (paths of built programs)")
		flag.PrintDefaults()
	}
	flag.Parse()
	if flag.NArg() == 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := write(context.Background(), *folder, *version, flag.Args()); err != nil {
		fmt.Fprintln(os.Stderr, "sbom:", err)
		os.Exit(1)
	}
}

func write(ctx context.Context, folder, version string, programs []string) error {
	licences, err := newLicences(ctx)
	if err != nil {
		return err
	}
	for _, program := range programs {
		document, err := describe(program, version, licences)
		if err != nil {
			return err
		}
		text, err := json.MarshalIndent(document, "", "  ")
		if err != nil {
			return fmt.Errorf("encoding what %s is made of: %w", program, err)
		}
		file := filepath.Join(folder, filepath.Base(program)+".cdx.json")
		if err := os.WriteFile(file, append(text, '\n'), 0o644); err != nil {
			return fmt.Errorf("writing what %s is made of: %w", program, err)
		}
	}
	return nil
}
