package main

import (
	"fmt"

	"github.com/spf13/cobra"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	autoscalingv2 "k8s.io/api/autoscaling/v2"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// cluster is the way to an API server, as kubectl finds it: $KUBECONFIG or
// ~/.kube/config, with the user's own rights.
type cluster struct {
	kubeconfig, context, namespace string
}

// addFlags adds kubectl's flags of the same names.
func (c *cluster) addFlags(cmd *cobra.Command) {
	c.addConnectionFlags(cmd)
	cmd.Flags().StringVarP(&c.namespace, "namespace", "n", "", "`namespace` (default: the context's)")
	completeNamespaces(cmd, c)
}

// addConnectionFlags adds those that say which cluster.
func (c *cluster) addConnectionFlags(cmd *cobra.Command) {
	flags := cmd.Flags()
	flags.StringVar(&c.kubeconfig, "kubeconfig", "", "`file` with the API server's address and a user (default: $KUBECONFIG, else ~/.kube/config)")
	flags.StringVar(&c.context, "context", "", "`name` of the context in it (default: the current one)")
}

// connection is a cluster that can be asked.
type connection struct {
	client.Client
	config *rest.Config
	// namespace that was asked for, else the context's.
	namespace string
}

// connect prepares the requests; none is sent yet.
func (c *cluster) connect() (*connection, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = c.kubeconfig
	overrides := &clientcmd.ConfigOverrides{CurrentContext: c.context}
	overrides.Context.Namespace = c.namespace
	loader := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, overrides)
	config, err := loader.ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("finding the API server (--kubeconfig, $KUBECONFIG or ~/.kube/config): %w", err)
	}
	config.UserAgent = "pillionctl"
	// kubectl's: with client-go's own 5 requests a second a look at all namespaces of a large
	// cluster would take many minutes.
	config.QPS, config.Burst = 50, 300
	namespace, _, err := loader.Namespace()
	if err != nil {
		return nil, fmt.Errorf("finding the namespace (-n): %w", err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{
		corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, admissionv1.AddToScheme,
		discoveryv1.AddToScheme, authorizationv1.AddToScheme, autoscalingv2.AddToScheme, policyv1.AddToScheme,
	} {
		if err := add(scheme); err != nil {
			return nil, fmt.Errorf("preparing the API client: %w", err)
		}
	}
	connected, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		return nil, fmt.Errorf("preparing the API client for %s: %w", config.Host, err)
	}
	return &connection{Client: connected, config: config, namespace: namespace}, nil
}
