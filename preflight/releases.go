package preflight

import (
	"fmt"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/utils/ptr"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

func releaseFound(f *Facts) []Finding {
	var report report
	switch {
	case f.Releases.Err != nil:
		report.unseen("the webhook's ConfigMap, in all namespaces", f.Releases.Err)
	case len(f.Releases.Value) == 0:
		report.problem("no ConfigMap with the labels app.kubernetes.io/name=pillion and app.kubernetes.io/component=webhook was found")
	}
	return report.findings
}

func configurationValid(_ *Facts, r *Installed) []Finding {
	report := report{subject: r.String()}
	if r.ConfigErr != nil {
		report.problem("the ConfigMap %s/%s: %v", r.Namespace, r.Name, r.ConfigErr)
	}
	return report.findings
}

// available looks at the Deployments of one component.
func available(component string) func(*Facts, *Installed) []Finding {
	return func(_ *Facts, r *Installed) []Finding {
		report := report{subject: r.String()}
		if r.Deployments.Err != nil {
			report.unseen("the Deployments of namespace "+r.Namespace, r.Deployments.Err)
			return report.findings
		}
		found := false
		for n := range r.Deployments.Value {
			d := &r.Deployments.Value[n]
			if d.Labels["app.kubernetes.io/component"] != component {
				continue
			}
			found = true
			report.availability(d)
		}
		switch {
		case found:
		case component == "webhook" || r.ControllerMeant:
			report.problem("there is no Deployment of the %s in namespace %s", component, r.Namespace)
			report.hint("`helm upgrade` puts it back")
		default:
			report.notice("there is no Deployment of the %s in namespace %s", component, r.Namespace)
			report.hint("that is right only where the release's values leave it out: another tls.source than controller, no auditor and no MeshServices")
		}
		return report.findings
	}
}

func (r *report) availability(d *appsv1.Deployment) {
	want, have := ptr.Deref(d.Spec.Replicas, 1), d.Status.AvailableReplicas
	switch {
	case want == 0:
		r.problem("Deployment %s/%s is scaled to 0 replicas", d.Namespace, d.Name)
	case have == 0:
		r.problem("Deployment %s/%s has none of %d replicas available%s", d.Namespace, d.Name, want, conditionOf(d))
	case have < want:
		r.notice("Deployment %s/%s has %d of %d replicas available%s", d.Namespace, d.Name, have, want, conditionOf(d))
	}
}

// conditionOf is what Kubernetes says about a Deployment that is not complete.
func conditionOf(d *appsv1.Deployment) string {
	var said []string
	for _, c := range d.Status.Conditions {
		if c.Status == "False" && c.Message != "" || c.Type == appsv1.DeploymentReplicaFailure {
			said = append(said, c.Message)
		}
	}
	if len(said) == 0 {
		return ""
	}
	return ": " + strings.Join(said, "; ")
}

func endpoints(_ *Facts, r *Installed) []Finding {
	report := report{subject: r.String()}
	switch {
	case r.Service.Err != nil:
		report.unseen(fmt.Sprintf("Service %s/%s", r.Namespace, r.Name), r.Service.Err)
	case r.Service.Value == nil:
		report.problem("there is no Service %s/%s, which the webhook configurations call", r.Namespace, r.Name)
	case r.Slices.Err != nil:
		report.unseen("the EndpointSlices of namespace "+r.Namespace, r.Slices.Err)
	default:
		ready, all := 0, 0
		for _, slice := range r.Slices.Value {
			for _, endpoint := range slice.Endpoints {
				all++
				if ptr.Deref(endpoint.Conditions.Ready, true) {
					ready++
				}
			}
		}
		if ready == 0 {
			report.problem("Service %s/%s has no endpoint that is ready (%d that are not)", r.Namespace, r.Name, all)
		}
	}
	return report.findings
}

// nativeSidecarMinor is the minor version of Kubernetes 1 from which on native
// sidecars are on by default.
const nativeSidecarMinor = 29

// kubernetesVersion compares what the configuration was rendered for with what is there.
func kubernetesVersion(f *Facts, r *Installed) []Finding {
	report := report{subject: r.String()}
	if f.ServerVersion.Err != nil {
		report.unseen("the API server's version", f.ServerVersion.Err)
		return report.findings
	}
	server := minorOf(f.ServerVersion.Value)
	if r.Config == nil || server == 0 {
		report.add(Unknown, "the API server's version %q was not compared with the configuration", f.ServerVersion.Value)
		return report.findings
	}
	told := minorOf(r.Config.KubernetesVersion)
	mode := ptr.Deref(r.Config.Sidecar.Mode, v1alpha1.ModeAuto)
	switch {
	case mode == v1alpha1.ModeNative && server < nativeSidecarMinor:
		report.problem("the configuration asks for mode native, and Kubernetes %s has no native sidecars", f.ServerVersion.Value)
	case told >= nativeSidecarMinor && server < nativeSidecarMinor && mode == v1alpha1.ModeAuto:
		report.problem("the configuration is for Kubernetes %s, whose sidecars are native, and the API server is %s", r.Config.KubernetesVersion, f.ServerVersion.Value)
	case told != 0 && told != server:
		report.notice("the configuration is for Kubernetes %s, and the API server is %s", r.Config.KubernetesVersion, f.ServerVersion.Value)
	}
	return report.findings
}

// minorOf reads the minor version in v1.37.2 and 1.37; 0 where there is none.
func minorOf(version string) (minor int) {
	if _, err := fmt.Sscanf(strings.TrimPrefix(version, "v"), "1.%d", &minor); err != nil {
		return 0
	}
	return minor
}
