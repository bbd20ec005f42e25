package webhook

import (
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"time"

	"github.com/pillion-mesh/pillion/injector"
)

// otherKind stands for what is no workload, or is neither made nor changed, where
// kinds are counted.
const otherKind = "Other"

// workloadKinds are the kinds of workloads by group and version: Kubernetes' own.
func workloadKinds() []reviewGVK {
	return []reviewGVK{
		{"apps", "v1", "Deployment"}, {"apps", "v1", "StatefulSet"}, {"apps", "v1", "DaemonSet"}, {"apps", "v1", "ReplicaSet"},
		{"batch", "v1", "Job"}, {"batch", "v1", "CronJob"},
	}
}

// isWorkloadChange says whether the request is one about which there may be
// something to say.
func (r *reviewRequest) isWorkloadChange() bool {
	return (r.Operation == "CREATE" || r.Operation == "UPDATE") && r.SubResource == "" && slices.Contains(workloadKinds(), r.Kind)
}

// workload is the part of a workload that is looked at. Other fields are skipped.
type workload struct {
	Metadata injector.Metadata `json:"metadata"`
	Spec     workloadSpec      `json:"spec"`
}

type workloadSpec struct {
	Template *injector.Pod `json:"template"`
	// JobTemplate is a CronJob's.
	JobTemplate struct {
		Spec struct {
			Template *injector.Pod `json:"template"`
		} `json:"spec"`
	} `json:"jobTemplate"`
}

// template is where the pod template is, and what; nil where there is none.
func (w *workload) template(kind string) (path string, template *injector.Pod) {
	if kind == "CronJob" {
		return "spec.jobTemplate.spec.template", w.Spec.JobTemplate.Spec.Template
	}
	return "spec.template", w.Spec.Template
}

// decodeWorkloadReview reads a review with its workload, which is there when one is
// made or changed.
func decodeWorkloadReview(body []byte) (request *reviewRequest, object *workload, err error) {
	request, err = decodeReview(body, (*reviewRequest).isWorkloadChange, &object)
	if err == nil && object == nil && request.isWorkloadChange() {
		err = fmt.Errorf("request.object is missing, in the %s of a %s", request.Operation, request.Kind.Kind)
	}
	return request, object, err
}

// workloadVerdict is what is said about a workload: it is allowed in any case.
type workloadVerdict struct {
	// kind is one of workloadKinds, or otherKind.
	kind     string
	warnings []injector.Warning
}

// decideOnWorkload is the way of POST /validate-workload, and of the paths below it. A
// review carries no labels of a namespace; kube-apiserver's selectors see them, and
// choose the path by the Pod Security level that the namespace enforces.
func (h *Handler) decideOnWorkload(podSecurity string) decide {
	return func(a *answer, body []byte) {
		request, object, err := decodeWorkloadReview(body)
		if err != nil {
			a.failure = badReview(http.StatusBadRequest, err)
			return
		}
		a.request = request
		verdict := &workloadVerdict{kind: otherKind}
		a.verdict = verdict
		if !request.isWorkloadChange() {
			return
		}
		verdict.kind, request.generateName = request.Kind.Kind, object.Metadata.GenerateName
		current, f := h.configured()
		if f != nil {
			a.failure = f
			return
		}
		if path, template := object.template(verdict.kind); template != nil {
			verdict.warnings = current.review(&injector.Workload{
				Kind: verdict.kind, Name: request.shownName(), Labels: object.Metadata.Labels, Annotations: object.Metadata.Annotations,
				Path: path, Template: template, Namespace: injector.Namespace{Name: request.Namespace, PodSecurity: podSecurity}, Now: time.Now(),
			})
		}
	}
}

func (v *workloadVerdict) response(*reviewRequest) reviewResponse {
	return reviewResponse{Allowed: true, Warnings: fitWarnings(v.warnings)}
}

func (v *workloadVerdict) count(m *Metrics, _ *reviewRequest) (outcome string) {
	m.workloads.WithLabelValues(v.kind).Inc()
	m.countWarnings(v.warnings)
	return outcomeReview
}

func (v *workloadVerdict) level() slog.Level {
	if len(v.warnings) == 0 {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

func (v *workloadVerdict) line(request *reviewRequest, to []slog.Attr) (message string, attributes []slog.Attr) {
	return "workload review", append(to,
		slog.String("kind", v.kind), slog.String("name", clip(request.shownName())), slog.Int("warnings", len(v.warnings)),
	)
}
