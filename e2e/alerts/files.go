// Package alerts reads the alerts and the dashboard of charts/pillion, finds which
// metrics they name, and runs Prometheus on them.
package alerts

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"

	"sigs.k8s.io/yaml"
)

// Rule is an alert.
type Rule struct {
	Alert       string            `json:"alert"`
	Expr        string            `json:"expr"`
	For         string            `json:"for"`
	Labels      map[string]string `json:"labels"`
	Annotations map[string]string `json:"annotations"`
}

// ReadRules reads a rule file of Prometheus.
func ReadRules(path string) ([]Rule, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the alerts: %w", err)
	}
	var file struct {
		Groups []struct {
			Name  string `json:"name"`
			Rules []Rule `json:"rules"`
		} `json:"groups"`
	}
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		return nil, fmt.Errorf("reading the alerts in %s: %w", path, err)
	}
	var rules []Rule
	for _, group := range file.Groups {
		rules = append(rules, group.Rules...)
	}
	return rules, nil
}

// Panel is one of a dashboard's, and a row is a Panel of the type "row".
type Panel struct {
	ID          int    `json:"id"`
	Type        string `json:"type"`
	Title       string `json:"title"`
	Description string `json:"description"`
	Datasource  struct {
		UID string `json:"uid"`
	} `json:"datasource"`
	FieldConfig struct {
		Defaults struct {
			Unit string `json:"unit"`
		} `json:"defaults"`
	} `json:"fieldConfig"`
	Targets []Query `json:"targets"`
	// Row is the title of the row that it is in.
	Row string `json:"-"`
}

// Query is one line of a panel, or several.
type Query struct {
	Expr string `json:"expr"`
	// Legend has {{label}} for labels of the line.
	Legend string `json:"legendFormat"`
}

// Dashboard is one of Grafana's.
type Dashboard struct {
	UID        string `json:"uid"`
	Title      string `json:"title"`
	Templating struct {
		List []struct {
			Name  string          `json:"name"`
			Type  string          `json:"type"`
			Query json.RawMessage `json:"query"`
		} `json:"list"`
	} `json:"templating"`
	// Panels are those that show something, without the rows.
	Panels []Panel `json:"panels"`
}

// ReadDashboard reads Grafana's JSON.
func ReadDashboard(path string) (*Dashboard, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading the dashboard: %w", err)
	}
	var d Dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		return nil, fmt.Errorf("reading the dashboard in %s: %w", path, err)
	}
	var panels []Panel
	row := ""
	for _, panel := range d.Panels {
		if panel.Type == "row" {
			row = panel.Title
			continue
		}
		panel.Row = row
		panels = append(panels, panel)
	}
	d.Panels = panels
	return &d, nil
}

// Variables are the queries behind the dashboard's variables, as PromQL: Grafana's
// label_values(METRIC, LABEL) is the same as count by (LABEL) (METRIC).
func (d *Dashboard) Variables() ([]string, error) {
	var expressions []string
	for _, variable := range d.Templating.List {
		if variable.Type != "query" {
			continue
		}
		var query struct {
			Query string `json:"query"`
		}
		if err := json.Unmarshal(variable.Query, &query); err != nil {
			return nil, fmt.Errorf("reading the query of the variable %s: %w", variable.Name, err)
		}
		inside, before := strings.CutPrefix(query.Query, "label_values(")
		metric, label, comma := strings.Cut(strings.TrimSuffix(inside, ")"), ", ")
		if !before || !comma {
			return nil, fmt.Errorf("the variable %s has the query %q; accepted is label_values(METRIC, LABEL)", variable.Name, query.Query)
		}
		expressions = append(expressions, fmt.Sprintf("count by (%s) (%s)", label, metric))
	}
	return expressions, nil
}

// Substituted is the query as Grafana sends it with everything selected and a step
// that makes $__rate_interval the one given.
func (q Query) Substituted(rateInterval string) string {
	return strings.NewReplacer("$__rate_interval", rateInterval, "$job", ".+").Replace(q.Expr)
}
