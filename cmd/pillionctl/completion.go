package main

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// completionTimeout is how long somebody who has pressed the tabulator waits at most.
const completionTimeout = 2 * time.Second

// completionLimit is how many names are offered at most.
const completionLimit = 500

// completeNamespaces offers the cluster's namespaces for -n.
func completeNamespaces(cmd *cobra.Command, in *cluster) {
	err := cmd.RegisterFlagCompletionFunc("namespace", func(cmd *cobra.Command, _ []string, typed string) ([]string, cobra.ShellCompDirective) {
		names := in.names(cmd, corev1.SchemeGroupVersion.WithKind("Namespace"), false)
		return starting(names, typed), cobra.ShellCompDirectiveNoFileComp
	})
	if err != nil {
		panic(err) // the flag does not exist, which the tests would see
	}
}

// completeObject offers KIND/, and then the names in the namespace.
func completeObject(in *cluster, kinds []workloadKind) cobra.CompletionFunc {
	return func(cmd *cobra.Command, args []string, typed string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		kindName, _, named := strings.Cut(typed, "/")
		if !named {
			var offered []string
			for _, k := range kinds {
				offered = append(offered, k.names[0]+"/")
			}
			return starting(offered, typed), cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveNoSpace
		}
		kind, err := findKind(kindName)
		if err != nil {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		names := in.names(cmd, kind.gvk, true)
		for n := range names {
			names[n] = kindName + "/" + names[n]
		}
		return starting(names, typed), cobra.ShellCompDirectiveNoFileComp
	}
}

// names of a kind's objects, of which nothing but the metadata is asked for. Without an
// answer in time there are none: nobody waits for a completion that fails.
func (c *cluster) names(cmd *cobra.Command, gvk schema.GroupVersionKind, namespaced bool) []string {
	connected, err := c.connect()
	if err != nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(cmd.Context(), completionTimeout)
	defer cancel()
	var list metav1.PartialObjectMetadataList
	list.SetGroupVersionKind(gvk)
	options := []client.ListOption{client.Limit(completionLimit)}
	if namespaced {
		options = append(options, client.InNamespace(connected.namespace))
	}
	if err := connected.List(ctx, &list, options...); err != nil {
		return nil
	}
	var names []string
	for n := range list.Items {
		names = append(names, list.Items[n].Name)
	}
	return names
}

// starting are the names that begin with what was typed.
func starting(names []string, typed string) []string {
	return slices.DeleteFunc(names, func(name string) bool { return !strings.HasPrefix(name, typed) })
}
