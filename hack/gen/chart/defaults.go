package main

import (
	"k8s.io/apimachinery/pkg/api/resource"
)

// defaults are what values.yaml says. The injector's own are InjectorConfig's and
// are not repeated.
func defaults() Values {
	return Values{
		ImagePullSecrets: []LocalReference{},
		Webhook: Webhook{
			Replicas:             3,
			Image:                Image{Repository: "pillion-mesh/pillion-webhook", PullPolicy: "IfNotPresent"},
			Port:                 8443,
			StatusPort:           8080,
			Service:              Service{Port: 443},
			TimeoutSeconds:       5,
			ShutdownDelaySeconds: 10,
			Resources: Resources{
				Requests: Amounts{CPU: quantity("100m"), Memory: quantity("64Mi")},
				Limits:   Amounts{Memory: quantity("256Mi")},
			},
			PodDisruptionBudget:      PodDisruptionBudget{Enabled: true, MaxUnavailable: 1},
			ConfigurationAnnotations: map[string]string{},
			ExtraArgs:                []string{},
		},
	}
}

func quantity(text string) *resource.Quantity {
	q := resource.MustParse(text)
	return &q
}
