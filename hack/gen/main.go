// Command gen writes what is generated from the types of api/v1alpha1, their
// comments and their defaults, and from the webhook's metrics:
//
//	gen          writes the generated files; it runs in hack/gen
//	gen schema   prints the JSON schema of InjectorConfig
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/pillion-mesh/pillion/controller"
	"github.com/pillion-mesh/pillion/hack/gen/fields"
	"github.com/pillion-mesh/pillion/hack/gen/reference"
	"github.com/pillion-mesh/pillion/hack/gen/schema"
	"github.com/pillion-mesh/pillion/metric"
	"github.com/pillion-mesh/pillion/proxy"
	"github.com/pillion-mesh/pillion/webhook"
)

//go:generate go run .
//go:generate ./programs

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	switch {
	case len(args) == 0:
		return write("../..")
	case len(args) == 1 && args[0] == "schema":
		return printSchema()
	}
	return fmt.Errorf("%q is not known; accepted is schema, or nothing", args)
}

func printSchema() error {
	document, err := schema.InjectorConfig()
	if err != nil {
		return err
	}
	document["$schema"] = "https://json-schema.org/draft/2020-12/schema"
	document["title"] = "Pillion's InjectorConfig"
	text, err := json.MarshalIndent(document, "", "  ")
	if err != nil {
		return fmt.Errorf("writing the schema: %w", err)
	}
	fmt.Println(string(text))
	return nil
}

// write brings the generated files of the repository at root up to date.
func write(root string) error {
	files, err := generate(root)
	if err != nil {
		return err
	}
	for name, content := range files {
		if err := os.WriteFile(filepath.Join(root, name), content, 0o644); err != nil {
			return fmt.Errorf("writing a generated file: %w", err)
		}
	}
	return nil
}

// generate returns the generated files by their paths in the repository.
func generate(root string) (map[string][]byte, error) {
	source, err := os.ReadFile(filepath.Join(root, "api", "v1alpha1", "types.go"))
	if err != nil {
		return nil, fmt.Errorf("reading the types: %w", err)
	}
	// Not v1alpha1.Fields: that is what the last run wrote.
	list, err := fields.List(source)
	if err != nil {
		return nil, err
	}
	table, err := fields.Source(list)
	if err != nil {
		return nil, err
	}
	mesh, err := meshService(root)
	if err != nil {
		return nil, err
	}
	return map[string][]byte{
		"docs/reference/meshservice.md":       mesh,
		"api/v1alpha1/zz_generated_fields.go": table,
		"docs/reference/config.md":            reference.Config(list),
		"docs/reference/metrics.md": reference.Metrics(
			reference.ProgramMetrics{Program: "pillion-webhook", List: webhook.NewMetrics().Described},
			reference.ProgramMetrics{Program: "pillion-controller", List: controller.NewMetrics().Described},
			reference.ProgramMetrics{Program: "pillion-proxy, in each injected pod", List: proxyMetrics()},
		),
	}, nil
}

// meshService is the page of what owners write.
func meshService(root string) ([]byte, error) {
	read := make(map[string][]byte, 3)
	for _, name := range []string{"api/v1alpha1/meshservice.go", "api/v1alpha1/meshservice_egress.go", "charts/pillion/files/crds/pillion.dev_meshservices.yaml"} {
		content, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			return nil, fmt.Errorf("reading the types and the definition of MeshService: %w", err)
		}
		read[filepath.Base(name)] = content
	}
	list, err := fields.MeshService(read["meshservice.go"], read["meshservice_egress.go"])
	if err != nil {
		return nil, err
	}
	return reference.MeshService(list, read["pillion.dev_meshservices.yaml"])
}

// proxyMetrics are described without package metric, which a pod's program does not have.
func proxyMetrics() []metric.Description {
	var all []metric.Description
	for _, m := range proxy.Metrics() {
		d := metric.Description{Name: m.Name, Type: m.Type, Help: m.Help}
		if m.Label != "" {
			d.Labels = []string{m.Label}
		}
		all = append(all, d)
	}
	return all
}
