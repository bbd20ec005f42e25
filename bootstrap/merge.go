package bootstrap

import (
	"encoding/json"
	"fmt"
)

// Merged is a configuration as one file, for `envoy --mode validate`: that looks into no
// file that a bootstrap names. It takes what New returns, and puts clusters, listeners
// and the listeners' routes in one place.
func Merged(files []File) ([]byte, error) {
	parsed := map[string]map[string]any{}
	for _, file := range files {
		var content map[string]any
		if err := json.Unmarshal(file.Content, &content); err != nil {
			return nil, fmt.Errorf("merging Envoy's files: reading %s: %w", file.Name, err)
		}
		parsed[file.Name] = content
	}
	whole, found := parsed[BootstrapFile]
	if !found {
		return nil, fmt.Errorf("merging Envoy's files: there is no %s among %d", BootstrapFile, len(files))
	}
	routes := map[string]any{}
	for name, content := range parsed {
		if name == BootstrapFile || name == ClustersFile || name == ListenersFile {
			continue
		}
		for _, configuration := range resources(content) {
			if fields, ok := configuration.(map[string]any); ok {
				if name, ok := fields["name"].(string); ok {
					routes[name] = configuration
				}
			}
		}
	}
	listeners := resources(parsed[ListenersFile])
	if err := inline(listeners, routes); err != nil {
		return nil, err
	}
	delete(whole, "dynamic_resources")
	static, _ := whole["static_resources"].(map[string]any)
	if static == nil {
		static = map[string]any{}
		whole["static_resources"] = static
	}
	builtIn, _ := static["clusters"].([]any)
	static["clusters"] = append(builtIn, resources(parsed[ClustersFile])...)
	static["listeners"] = listeners
	return json.Marshal(whole)
}

// resources of a file, without the name of their message, which Envoy takes only in
// files of their own.
func resources(content map[string]any) []any {
	list, _ := content["resources"].([]any)
	for _, resource := range list {
		if fields, ok := resource.(map[string]any); ok {
			delete(fields, "@type")
		}
	}
	return list
}

// inline puts route configurations where listeners name them.
func inline(value any, routes map[string]any) error {
	switch value := value.(type) {
	case []any:
		for _, v := range value {
			if err := inline(v, routes); err != nil {
				return err
			}
		}
	case map[string]any:
		if rds, ok := value["rds"].(map[string]any); ok {
			name, _ := rds["route_config_name"].(string)
			of, known := routes[name]
			if !known {
				return fmt.Errorf("merging Envoy's files: a listener names the routes %q, and there are none", name)
			}
			delete(value, "rds")
			value["route_config"] = of
		}
		for _, v := range value {
			if err := inline(v, routes); err != nil {
				return err
			}
		}
	}
	return nil
}
