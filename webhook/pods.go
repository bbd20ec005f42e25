package webhook

import (
	"errors"
	"log/slog"
	"net/http"
	"strconv"
	"time"

	"github.com/pillion-mesh/pillion/injector"
)

// podVerdict is what is said about a new pod.
type podVerdict struct {
	injector.Result
	// patch is Result.Patch as JSON.
	patch []byte
}

// isPodCreation says whether the request is one that we have an opinion on.
func (r *reviewRequest) isPodCreation() bool {
	return r.Kind == reviewGVK{Version: "v1", Kind: "Pod"} && r.SubResource == "" && r.Operation == "CREATE"
}

// decodePodReview reads a review with its pod, which is there in the creation of one.
func decodePodReview(body []byte) (request *reviewRequest, pod *injector.Pod, err error) {
	request, err = decodeReview(body, (*reviewRequest).isPodCreation, &pod)
	if err == nil && pod == nil && request.isPodCreation() {
		err = errors.New("request.object is missing, in the creation of a Pod")
	}
	return request, pod, err
}

// decideOnPod is the way of POST /mutate.
func (h *Handler) decideOnPod(a *answer, body []byte) {
	request, pod, err := decodePodReview(body)
	if err != nil {
		a.failure = badReview(http.StatusBadRequest, err)
		return
	}
	a.request = request
	verdict := &podVerdict{}
	a.verdict = verdict
	if !request.isPodCreation() {
		verdict.Decision = injector.Decision{Verdict: injector.Skip, Reason: injector.ReasonNotACreate}
		return
	}
	request.generateName = pod.Metadata.GenerateName
	current, f := h.configured()
	if f != nil {
		a.failure = f
		return
	}
	verdict.Result = current.inject(injector.Request{
		Pod: pod, Namespace: injector.Namespace{Name: request.Namespace}, Now: time.Now(),
	})
	if verdict.Decision.Verdict == injector.Inject && len(verdict.Patch) > 0 {
		a.failure = h.encodePatch(verdict, request.Object.raw(body))
	}
}

// encodePatch makes the patch's JSON, unless the patch does not fit the pod.
func (h *Handler) encodePatch(verdict *podVerdict, rawPod []byte) *failure {
	if h.selfCheck {
		if err := injector.CheckPatch(rawPod, verdict.Patch); err != nil {
			return &failure{status: http.StatusInternalServerError, reason: injector.ReasonSelfCheck, err: err}
		}
	}
	patch, err := injector.AppendPatch(nil, verdict.Patch)
	if err != nil {
		return &failure{status: http.StatusInternalServerError, reason: injector.ReasonInternal, err: err}
	}
	verdict.patch = patch
	return nil
}

func (v *podVerdict) response(request *reviewRequest) reviewResponse {
	response := reviewResponse{
		Allowed:          v.Decision.Verdict != injector.Refuse,
		Warnings:         fitWarnings(v.Warnings),
		AuditAnnotations: auditOf(v.Decision),
	}
	if len(v.patch) > 0 {
		response.PatchType, response.Patch = "JSONPatch", v.patch
	}
	if !response.Allowed {
		response.Status = refusalOf(request, &v.Result)
	}
	return response
}

func (v *podVerdict) count(m *Metrics, request *reviewRequest) (outcome string) {
	m.admissions.WithLabelValues(string(v.Decision.Verdict), v.Decision.Reason.Name, strconv.FormatBool(request.DryRun)).Inc()
	m.countWarnings(v.Warnings)
	return string(v.Decision.Verdict)
}

func (v *podVerdict) level() slog.Level {
	if v.Decision.Verdict == injector.Skip {
		return slog.LevelDebug
	}
	return slog.LevelInfo
}

func (v *podVerdict) line(request *reviewRequest, to []slog.Attr) (message string, attributes []slog.Attr) {
	return "admission", append(to,
		slog.String("verdict", string(v.Decision.Verdict)), slog.String("reason", v.Decision.Reason.String()),
		slog.String("pod", clip(request.shownName())),
		slog.Int("operations", len(v.Patch)), slog.Int("warnings", len(v.Warnings)),
	)
}
