package alerts

import (
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/VictoriaMetrics/metricsql"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// Exposed are the names of series with the names of their labels.
type Exposed map[string][]string

// targetLabels are what Prometheus adds to whatever it scrapes: job and instance
// always, namespace where a ServiceMonitor or PodMonitor says what to scrape.
func targetLabels() []string { return []string{"job", "instance", "namespace"} }

// ReadExposed reads what a program answers to a scrape. A histogram is the names of its
// series, as NAME_bucket.
func ReadExposed(scraped io.Reader) (Exposed, error) {
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(scraped)
	if err != nil {
		return nil, fmt.Errorf("reading what was scraped: %w", err)
	}
	exposed := Exposed{}
	for name, family := range families {
		labels := map[string]bool{}
		for _, metric := range family.GetMetric() {
			for _, label := range metric.GetLabel() {
				labels[label.GetName()] = true
			}
		}
		own := slices.Sorted(maps.Keys(labels))
		switch family.GetType() {
		case dto.MetricType_HISTOGRAM:
			exposed[name+"_bucket"] = append([]string{"le"}, own...)
			exposed[name+"_count"], exposed[name+"_sum"] = own, own
		case dto.MetricType_SUMMARY:
			exposed[name] = append([]string{"quantile"}, own...)
			exposed[name+"_count"], exposed[name+"_sum"] = own, own
		default:
			exposed[name] = own
		}
	}
	return exposed, nil
}

// Unknown says which metrics and labels an expression names that are not exposed, each
// in a sentence. Labels that an aggregation keeps must be on every metric that it is
// about, and those that two sides are matched by on both.
func (e Exposed) Unknown(expr string) ([]string, error) {
	parsed, err := metricsql.Parse(expr)
	if err != nil {
		return nil, fmt.Errorf("reading the expression %q: %w", expr, err)
	}
	var found []string
	metricsql.VisitAll(parsed, func(node metricsql.Expr) {
		switch node := node.(type) {
		case *metricsql.MetricExpr:
			found = append(found, e.unknownMetric(node)...)
		case *metricsql.AggrFuncExpr:
			if strings.EqualFold(node.Modifier.Op, "by") {
				found = append(found, e.unknownInAny(node.Args, node.Modifier.Args)...)
			}
		case *metricsql.BinaryOpExpr:
			if strings.EqualFold(node.GroupModifier.Op, "on") {
				found = append(found, e.unknownInAny([]metricsql.Expr{node.Left, node.Right}, node.GroupModifier.Args)...)
			}
		}
	})
	slices.Sort(found)
	return slices.Compact(found), nil
}

func (e Exposed) unknownMetric(node *metricsql.MetricExpr) []string {
	metric := nameOf(node)
	if metric == "" {
		return []string{fmt.Sprintf("%s names no metric", node.AppendString(nil))}
	}
	if _, ok := e[metric]; !ok {
		return []string{metric + " is not exposed"}
	}
	var labels []string
	for _, filters := range node.LabelFilterss {
		for _, filter := range filters {
			if filter.Label != "__name__" {
				labels = append(labels, filter.Label)
			}
		}
	}
	return e.without(metric, labels)
}

// unknownLabels are those of labels that some metric which a line of node comes from
// does not have.
func (e Exposed) unknownLabels(node metricsql.Expr, labels []string) []string {
	switch node := node.(type) {
	case *metricsql.MetricExpr:
		return e.without(nameOf(node), labels)
	case *metricsql.RollupExpr:
		return e.unknownLabels(node.Expr, labels)
	case *metricsql.FuncExpr:
		return e.unknownInAny(node.Args, labels)
	case *metricsql.AggrFuncExpr:
		return e.unknownInAny(node.Args, labels)
	case *metricsql.BinaryOpExpr:
		if op := strings.ToLower(node.Op); op == "and" || op == "unless" {
			return e.unknownLabels(node.Left, labels) // the right side only chooses
		}
		return e.unknownInAny([]metricsql.Expr{node.Left, node.Right}, labels)
	default: // a number or a string
		return nil
	}
}

func (e Exposed) unknownInAny(nodes []metricsql.Expr, labels []string) []string {
	var found []string
	for _, node := range nodes {
		found = append(found, e.unknownLabels(node, labels)...)
	}
	return found
}

// without are the labels that an exposed metric does not have.
func (e Exposed) without(metric string, labels []string) []string {
	own, ok := e[metric]
	if !ok {
		return nil // said elsewhere
	}
	var found []string
	for _, label := range labels {
		if !slices.Contains(own, label) && !slices.Contains(targetLabels(), label) {
			sentence := fmt.Sprintf("%s has no label %s", metric, label)
			if len(own) > 0 {
				sentence += ", but " + strings.Join(own, ", ")
			}
			found = append(found, sentence)
		}
	}
	return found
}

func nameOf(node *metricsql.MetricExpr) string {
	if len(node.LabelFilterss) == 0 {
		return ""
	}
	for _, filter := range node.LabelFilterss[0] {
		if filter.Label == "__name__" && !filter.IsNegative && !filter.IsRegexp {
			return filter.Value
		}
	}
	return ""
}
