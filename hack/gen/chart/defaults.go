package main

import (
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// defaults are what values.yaml says. The injector's own are InjectorConfig's and
// are not repeated.
func defaults() Values {
	return Values{
		ImagePullSecrets: []LocalReference{},
		CommonLabels:     map[string]string{},
		Webhook: Webhook{
			Replicas:             3,
			Image:                Image{Repository: "pillion-mesh/pillion-webhook", PullPolicy: "IfNotPresent"},
			Port:                 8443,
			StatusPort:           8080,
			Service:              Service{Port: 443},
			TimeoutSeconds:       5,
			ShutdownDelaySeconds: 10,
			DrainSeconds:         95,
			Resources: Resources{
				Requests: Amounts{CPU: quantity("100m"), Memory: quantity("64Mi")},
				Limits:   Amounts{Memory: quantity("256Mi")},
			},
			PodDisruptionBudget:      PodDisruptionBudget{Enabled: true, MaxUnavailable: intstr.FromInt32(1)},
			ConfigurationAnnotations: map[string]string{},
			Pod:                      pod(),
			ExtraArgs:                []string{},
		},
		TLS: TLS{Source: "controller", CertManager: CertManager{IssuerRef: map[string]string{}, Duration: "720h"}},
		Controller: Controller{
			Replicas:     2,
			Image:        Image{Repository: "pillion-mesh/pillion-controller", PullPolicy: "IfNotPresent"},
			StatusPort:   8080,
			Auditor:      Auditor{Enabled: true, Interval: "10m", Evict: Evict{PerMinute: 10}},
			MeshServices: MeshServices{Enabled: true, Protect: true, AskInterval: "15s"},
			Resources: Resources{
				Requests: Amounts{CPU: quantity("10m"), Memory: quantity("64Mi")},
				Limits:   Amounts{Memory: quantity("256Mi")},
			},
			Pod:       pod(),
			ExtraArgs: []string{},
		},
		CRDs:          CRDs{Install: "Auto", Keep: true},
		Guard:         Guard{Enabled: true},
		NetworkPolicy: NetworkPolicy{Enabled: true, AdmissionFrom: []map[string]any{}, MetricsFrom: []map[string]any{}},
		Monitoring: Monitoring{
			ServiceMonitor: ServiceMonitor{Interval: "30s", Labels: map[string]string{}},
			PrometheusRule: PrometheusRule{Labels: map[string]string{}},
			Dashboard:      Dashboard{Labels: map[string]string{"grafana_dashboard": "1"}},
		},
		ExtraObjects: []map[string]any{},
	}
}

func pod() Pod {
	return Pod{
		PriorityClassName: "system-cluster-critical",
		NodeSelector:      map[string]string{},
		Tolerations:       []map[string]any{},
		Affinity:          map[string]any{},
		Annotations:       map[string]string{},
		Labels:            map[string]string{},
	}
}

func quantity(text string) *resource.Quantity {
	q := resource.MustParse(text)
	return &q
}
