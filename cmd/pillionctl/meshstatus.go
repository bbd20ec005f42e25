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

// printMeshServices says of each how far it has come, as the controller wrote it.
func (p *program) printMeshServices(services []v1alpha1.MeshService) error {
	if len(services) == 0 {
		return nil
	}
	rows := [][]string{{"NAMESPACE", "MESHSERVICE", "ACCEPTED", "RENDERED", "APPLIED", "CURRENT", "REJECTED", "PODS", "WHY"}}
	for n := range services {
		s := &services[n]
		row := []string{s.Namespace, s.Name}
		why := ""
		for _, kind := range []string{v1alpha1.ConditionAccepted, v1alpha1.ConditionRendered, v1alpha1.ConditionApplied} {
			condition := meta.FindStatusCondition(s.Status.Conditions, kind)
			if condition == nil {
				row = append(row, string(metav1.ConditionUnknown))
				continue
			}
			row = append(row, string(condition.Status))
			if why == "" && condition.Status != metav1.ConditionTrue {
				why = condition.Message
			}
		}
		if len(s.Status.Conditions) == 0 {
			why = "no controller has seen it: `pillionctl check` says whether one runs"
		}
		pods := s.Status.Pods
		rows = append(rows, append(row, number(pods.Current), number(pods.Rejected), number(pods.Total), why))
	}
	if _, err := fmt.Fprintln(p.out); err != nil {
		return err
	}
	return writeTable(p.out, "", rows)
}

func number(n int32) string { return strconv.Itoa(int(n)) }
