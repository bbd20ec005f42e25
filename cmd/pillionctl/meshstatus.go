package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strconv"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// meshServices are those of all namespaces or of one. A cluster that knows none has none.
func (c *connection) meshServices(ctx context.Context, only string) ([]v1alpha1.MeshService, error) {
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion().WithKind(v1alpha1.KindMeshService + "List"))
	err := c.List(ctx, list, client.InNamespace(only))
	if meta.IsNoMatchError(err) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("listing the MeshServices: %w", err)
	}
	found := make([]v1alpha1.MeshService, len(list.Items))
	for n := range list.Items {
		item := &list.Items[n]
		found[n].Namespace, found[n].Name, found[n].Generation = item.GetNamespace(), item.GetName(), item.GetGeneration()
		// The spec may be one that cannot be read; its status says so.
		raw, err := json.Marshal(item.Object["status"])
		if err == nil {
			err = json.Unmarshal(raw, &found[n].Status)
		}
		if err != nil {
			return nil, fmt.Errorf("reading the status of MeshService %s/%s: %w", item.GetNamespace(), item.GetName(), err)
		}
	}
	return found, nil
}

// meshLine is what status says of a MeshService, as the controller wrote it; its JSON is in
// the output of -o json.
type meshLine struct {
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Accepted, Rendered and Applied are True, False or Unknown.
	Accepted string `json:"accepted"`
	Rendered string `json:"rendered"`
	Applied  string `json:"applied"`
	// Version that the pods are to run; empty while there is none.
	Version string `json:"version,omitempty"`
	// Pods of the service by what they said.
	Pods v1alpha1.MeshServicePods `json:"pods"`
	// Why is the message of the first condition that is not True.
	Why string `json:"why,omitempty"`
	// wrong is set where somebody has to do something.
	wrong bool
}

func meshLines(services []v1alpha1.MeshService) []meshLine {
	lines := make([]meshLine, len(services))
	for n := range services {
		lines[n] = lineOf(&services[n])
	}
	return lines
}

func lineOf(s *v1alpha1.MeshService) meshLine {
	line := meshLine{Namespace: s.Namespace, Name: s.Name, Version: s.Status.Version, Pods: s.Status.Pods}
	for kind, into := range map[string]*string{
		v1alpha1.ConditionAccepted: &line.Accepted, v1alpha1.ConditionRendered: &line.Rendered, v1alpha1.ConditionApplied: &line.Applied,
	} {
		*into = string(metav1.ConditionUnknown)
		if condition := meta.FindStatusCondition(s.Status.Conditions, kind); condition != nil {
			*into = string(condition.Status)
		}
	}
	for _, kind := range []string{v1alpha1.ConditionAccepted, v1alpha1.ConditionRendered, v1alpha1.ConditionApplied} {
		if condition := meta.FindStatusCondition(s.Status.Conditions, kind); condition != nil && condition.Status != metav1.ConditionTrue {
			line.Why = condition.Message
			break
		}
	}
	if len(s.Status.Conditions) == 0 {
		line.Why = "no controller has seen it: `pillionctl check` says whether one runs"
	}
	no := string(metav1.ConditionFalse)
	line.wrong = line.Accepted == no || line.Rendered == no || s.Status.Pods.Rejected > 0
	return line
}

// printMeshServices says of each how far it has come.
func (p *program) printMeshServices(lines []meshLine) error {
	if len(lines) == 0 {
		return nil
	}
	rows := [][]string{{"NAMESPACE", "MESHSERVICE", "ACCEPTED", "RENDERED", "APPLIED", "CURRENT", "REJECTED", "PODS", "WHY"}}
	for n := range lines {
		l := &lines[n]
		rows = append(rows, []string{
			l.Namespace, l.Name, l.Accepted, l.Rendered, l.Applied, number(l.Pods.Current), number(l.Pods.Rejected), number(l.Pods.Total), l.Why,
		})
	}
	if _, err := fmt.Fprintln(p.out); err != nil {
		return err
	}
	return writeTable(p.out, "", rows)
}

func number(n int32) string { return strconv.Itoa(int(n)) }
