package webhook

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// What became of a MeshService, where they are counted.
const (
	meshAccepted = "accepted"
	meshWarned   = "warned"
	meshRefused  = "refused"
	// meshOther is what is no MeshService, or is neither made nor changed.
	meshOther = "other"
)

// isMeshServiceChange says whether the request is one about which there may be
// something to say.
func (r *reviewRequest) isMeshServiceChange() bool {
	version := v1alpha1.GroupVersion()
	return (r.Operation == "CREATE" || r.Operation == "UPDATE") && r.SubResource == "" &&
		r.Kind == reviewGVK{version.Group, version.Version, v1alpha1.KindMeshService}
}

// meshServiceVerdict is what is said about a MeshService.
type meshServiceVerdict struct {
	outcome  string
	problems v1alpha1.Problems
	warnings []string
}

// decideOnMeshService is the way of POST /validate-meshservice. The document alone
// decides: there is no configuration that it would be held against. Fields that the
// definition does not know are not in it any more: kube-apiserver drops them before it
// asks, and tells who applies it. Where the definition is newer than this program, fields
// that are not known here are refused; nobody would act on them.
func (h *Handler) decideOnMeshService(a *answer, body []byte) {
	var object jsontext.Value
	request, err := decodeReview(body, (*reviewRequest).isMeshServiceChange, &object)
	if err == nil && request.isMeshServiceChange() && (len(object) == 0 || object.Kind() == jsontext.KindNull) {
		err = fmt.Errorf("request.object is missing, in the %s of a %s", request.Operation, request.Kind.Kind)
	}
	if err != nil {
		a.failure = badReview(http.StatusBadRequest, err)
		return
	}
	a.request = request
	verdict := &meshServiceVerdict{outcome: meshOther}
	a.verdict = verdict
	if !request.isMeshServiceChange() {
		return
	}
	mesh, err := v1alpha1.DecodeMeshService(object)
	if problems, invalid := errors.AsType[v1alpha1.Problems](err); invalid {
		verdict.outcome, verdict.problems = meshRefused, problems
		return
	}
	verdict.outcome, verdict.warnings = meshAccepted, v1alpha1.WarnMeshService(mesh)
	if len(verdict.warnings) > 0 {
		verdict.outcome = meshWarned
	}
}

func (v *meshServiceVerdict) response(request *reviewRequest) reviewResponse {
	if v.outcome != meshRefused {
		return reviewResponse{Allowed: true, Warnings: fitTexts(v.warnings, "`pillionctl config lint` shows all")}
	}
	causes := make([]cause, len(v.problems))
	for n, problem := range v.problems {
		causes[n] = cause{"FieldValueInvalid", problem.Message, problem.Path}
	}
	return reviewResponse{Status: newRefusal(refusalDetails{Name: request.Name, Kind: "meshservices"}, "", causes)}
}

func (v *meshServiceVerdict) count(m *Metrics, _ *reviewRequest) (outcome string) {
	m.meshServices.WithLabelValues(v.outcome).Inc()
	return outcomeReview
}

func (v *meshServiceVerdict) level() slog.Level {
	if v.outcome == meshRefused || v.outcome == meshWarned {
		return slog.LevelInfo
	}
	return slog.LevelDebug
}

func (v *meshServiceVerdict) line(request *reviewRequest, to []slog.Attr) (message string, attributes []slog.Attr) {
	return "meshservice review", append(to,
		slog.String("outcome", v.outcome), slog.String("name", clip(request.shownName())),
		slog.Int("problems", len(v.problems)), slog.Int("warnings", len(v.warnings)),
	)
}
