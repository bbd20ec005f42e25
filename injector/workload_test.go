package injector_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
)

// calm is the spec of a pod in which injection changes nothing outside of its own
// containers, and about which it has nothing to say.
const calm = `
  terminationGracePeriodSeconds: 80
  containers:
  - {name: app, image: app, lifecycle: {preStop: {exec: {command: [stop]}}}}
`

const optedIn = `metadata: {labels: {service-mesh-enabled: "true"}}`

type reviewCase struct {
	name string
	// kind is a Deployment where empty; a Pod is its own template.
	kind                string
	labels, annotations map[string]string
	// template has the spec calm, unless it has one.
	template string
	// config is the InjectorConfig's, without apiVersion and kind.
	config string
	want   []string
}

func reviewCases() []reviewCase {
	optIn := map[string]string{"service-mesh-enabled": "true"}
	return []reviewCase{
		{name: "fine", template: optedIn},
		{name: "fine, and labelled above as well", labels: optIn, template: optedIn},
		{name: "not opted in", template: `metadata: {labels: {app: web}}`},
		{name: "not opted in, and nothing that would be changed or refused is told", template: `{metadata: {annotations: {pillion.dev/mod: x}}, spec: {containers: [{name: envoy}]}}`},
		{name: "opted out", labels: optIn, template: `metadata: {labels: {service-mesh-enabled: "false"}}`},
		{name: "opted out above", labels: map[string]string{"service-mesh-enabled": "false"}, template: `metadata: {}`},
		{name: "label on the workload", labels: optIn, template: `metadata: {labels: {app: web}}`,
			want: []string{"PIL063: Deployment web: label service-mesh-enabled is in metadata.labels of the Deployment, where it has no effect; move it to spec.template.metadata.labels"}},
		{name: "label on a CronJob", kind: "CronJob", labels: optIn, template: `metadata: {}`,
			want: []string{"PIL063: CronJob web: label service-mesh-enabled is in metadata.labels of the CronJob, where it has no effect; move it to spec.jobTemplate.spec.template.metadata.labels"}},
		{name: "label among the template's annotations", template: `metadata: {annotations: {service-mesh-enabled: "true"}}`,
			want: []string{"PIL063: Deployment web: service-mesh-enabled is in spec.template.metadata.annotations, where it has no effect; move it to spec.template.metadata.labels"}},
		{name: "label among a pod's annotations", kind: "Pod", template: `metadata: {annotations: {service-mesh-enabled: "true"}}`,
			want: []string{"PIL063: Pod web: service-mesh-enabled is in metadata.annotations, where it has no effect; move it to metadata.labels"}},
		{name: "label among the workload's annotations", annotations: optIn, template: `metadata: {}`,
			want: []string{"PIL063: Deployment web: service-mesh-enabled is in metadata.annotations of the Deployment, where it has no effect; move it to spec.template.metadata.labels"}},
		{name: "label's name nearly right", template: `metadata: {labels: {service-mesh-enable: "true"}}`,
			want: []string{"PIL065: Deployment web: label service-mesh-enable has no effect; did you mean service-mesh-enabled?"}},
		{name: "label's value nearly right", template: `metadata: {labels: {service-mesh-enabled: "True"}}`,
			want: []string{`PIL051: Deployment web: label service-mesh-enabled is "True", so the pod gets no sidecar: only "true" opts in, and "false" opts out`}},
		{name: "annotations on the workload", annotations: map[string]string{"pillion.dev/mode": "native", "pillion.dev/drain-time": "5s", "other": "x"},
			template: `metadata: {labels: {service-mesh-enabled: "true"}, annotations: {pillion.dev/mode: native}}`,
			want:     []string{"PIL064: Deployment web: annotation pillion.dev/drain-time is in metadata.annotations of the Deployment, where it has no effect; move it to spec.template.metadata.annotations"}},
		{name: "annotation's name nearly right", template: `metadata: {labels: {service-mesh-enabled: "true"}, annotations: {pillion.dev/log-levle: info}}`,
			want: []string{"PIL050: Deployment web: annotation pillion.dev/log-levle is not known and has no effect; did you mean pillion.dev/log-level?"}},
		{name: "refused twice", template: `
metadata: {labels: {service-mesh-enabled: "true"}, annotations: {pillion.dev/log-level: loud}}
spec: {containers: [{name: envoy, image: x}]}`,
			want: []string{
				`PIL066: Deployment web: its pods will be refused: spec.template.metadata.annotations[pillion.dev/log-level]: Invalid value: "loud": must be one of trace, debug, info, warning, error, critical, off`,
				`PIL066: Deployment web: its pods will be refused: spec.template.spec.containers[0].name: Invalid value: "envoy": Pillion adds a container of this name; rename yours`,
			}},
		{name: "what has to be acted on comes first", annotations: map[string]string{"pillion.dev/drain-time": "5s"}, template: `
metadata: {labels: {service-mesh-enabled: "true"}, annotations: {pillion.dev/nonsense: "", pillion.dev/log-level: loud}}
spec: {containers: [{name: app, image: x}]}`,
			want: []string{
				`PIL066: Deployment web: its pods will be refused: spec.template.metadata.annotations[pillion.dev/log-level]: Invalid value: "loud": must be one of trace, debug, info, warning, error, critical, off`,
				"PIL064: Deployment web: annotation pillion.dev/drain-time is in metadata.annotations of the Deployment, where it has no effect; move it to spec.template.metadata.annotations",
				"PIL050: Deployment web: annotation pillion.dev/nonsense is not known and has no effect",
			}},
		{name: "on the node's network", template: `{` + optedIn + `, spec: {hostNetwork: true, containers: [{name: app}]}}`,
			want: []string{"PIL067: Deployment web: its pods get no sidecar: the pod has spec.hostNetwork: true"}},
		{name: "changed", template: optedIn + `
spec:
  containers: [{name: app, image: app}, {name: log, image: log}, {name: own, lifecycle: {preStop: {httpGet: {port: 80}}}}]
  resources: {requests: {cpu: "1"}, limits: {cpu: "2"}}`,
			want: []string{
				"PIL053: Deployment web: terminationGracePeriodSeconds raised from 30 to 80 to hold 30s pre-drain delay and 20s drain; container app and 1 more get a preStop hook that sleeps 50s",
				"PIL068: Deployment web: spec.template.spec.resources.requests[cpu] becomes 1100m; spec.template.spec.resources.limits[cpu] becomes 2100m",
			}},
		{name: "changed as the owner asked", template: `
metadata: {labels: {service-mesh-enabled: "true"}, annotations: {pillion.dev/pre-drain-delay: 10s}}
spec: {terminationGracePeriodSeconds: 100, containers: [{name: app, image: app}]}`},
		{name: "changed, and the grace period left", config: "lifecycle: {gracePeriod: Warn}", template: optedIn + `
spec: {containers: [{name: app, image: app}]}`,
			want: []string{
				"PIL054: Deployment web: terminationGracePeriodSeconds is 30, and 80 is needed to hold 30s pre-drain delay and 20s drain: requests will be lost",
				"PIL068: Deployment web: container app gets a preStop hook that sleeps 30s",
			}},
		{name: "a Job", kind: "Job", template: optedIn + `
spec: {restartPolicy: Never, containers: [{name: app, image: app}]}`},
		{name: "injected already, by hand", template: `
metadata: {labels: {service-mesh-enabled: "true"}, annotations: {pillion.dev/status: '{"version":"dev","config":"other","plan":"p"}'}}
spec: {initContainers: [{name: pillion-init}, {name: envoy}], containers: [{name: app}]}`,
			want: []string{"PIL061: Deployment web: the sidecar is version dev with configuration other, made by another injector than this one (dev, HASH)"}},
	}
}

// TestReview: what the person who applies a workload is told, and that a workload
// that is fine or not concerned says nothing.
func TestReview(t *testing.T) {
	for _, test := range reviewCases() {
		t.Run(test.name, func(t *testing.T) {
			i := test.injector(t)
			w := test.workload(t)
			var got []string
			for _, warning := range i.Review(w) {
				if warning.Reason.Kind != injector.KindWarning {
					t.Errorf("%s is not the reason of a warning", warning.Reason)
				}
				got = append(got, warning.String())
			}
			for n := range test.want {
				test.want[n] = strings.ReplaceAll(test.want[n], "HASH", i.ConfigHash())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func (c *reviewCase) injector(t *testing.T) *injector.Injector {
	t.Helper()
	config, err := v1alpha1.Decode([]byte("apiVersion: pillion.dev/v1alpha1\nkind: InjectorConfig\n" + c.config))
	if err != nil {
		t.Fatal(err)
	}
	i, err := injector.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func (c *reviewCase) workload(t *testing.T) *injector.Workload {
	t.Helper()
	template := c.template
	if !strings.Contains(template, "spec:") {
		template += "\nspec:" + calm
	}
	raw, err := yaml.YAMLToJSONStrict([]byte(template))
	if err != nil {
		t.Fatal(err)
	}
	pod, err := injector.DecodePod(raw)
	if err != nil {
		t.Fatal(err)
	}
	w := &injector.Workload{
		Kind: c.kind, Name: "web", Labels: c.labels, Annotations: c.annotations, Path: "spec.template",
		Template: pod, Namespace: injector.Namespace{Name: "shop"}, Now: now,
	}
	switch c.kind {
	case "":
		w.Kind = "Deployment"
	case "CronJob":
		w.Path = "spec.jobTemplate.spec.template"
	case "Pod":
		w.Path = ""
	}
	return w
}

// TestReviewLeavesTheTemplate: what is decided about a template is not written to it.
func TestReviewLeavesTheTemplate(t *testing.T) {
	for _, test := range reviewCases() {
		w, same := test.workload(t), test.workload(t)
		test.injector(t).Review(w)
		if diff := cmp.Diff(same, w); diff != "" {
			t.Errorf("%s (-before +after):\n%s", test.name, diff)
		}
	}
}

// TestTemplateTellsItsService: a template is named by its workload.
func TestTemplateTellsItsService(t *testing.T) {
	c := reviewCase{template: optedIn}
	if got := c.injector(t).InjectTemplate(c.workload(t)).Status.Service; got != "web" {
		t.Errorf("the service is %q", got)
	}
}
