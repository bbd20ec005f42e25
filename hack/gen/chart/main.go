// Command chart writes what is generated in charts/pillion: values.schema.json,
// values.yaml and the table in README.md, all from Values and its comments, so
// that what is documented, what is accepted and what is the default are one.
package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

//go:generate go run . ../../../charts/pillion

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: chart FOLDER (the chart's, as charts/pillion)")
		os.Exit(2)
	}
	if err := write(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "chart:", err)
		os.Exit(1)
	}
}

// write brings the generated files in the chart's folder up to date.
func write(folder string) error {
	files, err := generate(folder)
	if err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			return fmt.Errorf("writing a generated file: %w", err)
		}
	}
	return nil
}

// generate returns the generated files by their names in the chart's folder.
func generate(folder string) (map[string][]byte, error) {
	schema, err := valuesSchema()
	if err != nil {
		return nil, err
	}
	fields, err := fieldsOf(schema, defaults())
	if err != nil {
		return nil, err
	}
	// Run in another folder, it would not find the comments.
	if bare := undescribed(fields); len(bare) > 0 {
		return nil, fmt.Errorf("no comment found for %s: describe it in values.go, and run `go generate ./hack/gen/chart`", strings.Join(bare, ", "))
	}
	page, err := os.ReadFile(filepath.Join(folder, "README.md"))
	if err != nil {
		return nil, fmt.Errorf("reading the page that the table goes into: %w", err)
	}
	if page, err = replaceTable(page, table(fields)); err != nil {
		return nil, err
	}
	return map[string][]byte{
		"values.schema.json": schema,
		"values.yaml":        valuesYAML(fields),
		"README.md":          page,
	}, nil
}
