package webhook

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"gomodules.xyz/jsonpatch/v2"
	admissionv1 "k8s.io/api/admission/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/pillion-mesh/pillion/injector"
)

func TestInjectionIsAnsweredWithAPatch(t *testing.T) {
	var asked injector.Request
	h, _ := newTestHandler(func(r injector.Request) injector.Result {
		asked = r
		return injected()
	})
	response := responseOf(t, post(h, reviewOf(testPod)))
	if !response.Allowed || response.PatchType == nil || *response.PatchType != admissionv1.PatchTypeJSONPatch {
		t.Errorf("got %+v", response)
	}
	var patch []jsonpatch.Operation
	if err := json.Unmarshal(response.Patch, &patch); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(injected().Patch, patch); diff != "" {
		t.Error(diff)
	}
	want := map[string]string{"decision": "inject", "reason": "PIL001 Injected"}
	if diff := cmp.Diff(want, response.AuditAnnotations); diff != "" {
		t.Error(diff)
	}
	if asked.Namespace.Name != "shop" || asked.Namespace.Labels != nil || asked.Pod.Metadata.GenerateName != "app-" || asked.Now.IsZero() {
		t.Errorf("asked about %+v", asked)
	}
}

// kube-apiserver keeps one value of an audit annotation in all rounds of a
// request, and complains about a second one.
func TestReinvocationDoesNotContradictTheAuditLog(t *testing.T) {
	for _, reason := range []injector.Reason{injector.ReasonAlreadyInjected, injector.ReasonConverged} {
		h, _ := newTestHandler(decided(injector.Result{Decision: injector.Decision{Verdict: injector.Verdict(reason.Kind), Reason: reason}}))
		got := responseOf(t, post(h, reviewOf(testPod))).AuditAnnotations
		want := map[string]string{"again-decision": string(reason.Kind), "again-reason": reason.String()}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
}

func TestRefusalNamesEveryMistake(t *testing.T) {
	path := field.NewPath("metadata", "annotations").Key("pillion.dev/cpu-limit")
	result := injector.Result{
		Decision: injector.Decision{Verdict: injector.Refuse, Reason: injector.ReasonAnnotationValue},
		Errors:   field.ErrorList{field.Invalid(path, "much", "must be a quantity"), field.Required(field.NewPath("spec"), "is needed")},
		// A refused pod gets no patch, whatever the Injector says.
		Patch: injected().Patch,
	}
	h, _ := newTestHandler(decided(result))
	response := responseOf(t, post(h, reviewOf(testPod)))
	if response.Allowed || response.Patch != nil || response.PatchType != nil {
		t.Errorf("got %+v", response)
	}
	status := response.Result
	if status.Code != http.StatusUnprocessableEntity || status.Reason != metav1.StatusReasonInvalid || status.Status != metav1.StatusFailure {
		t.Errorf("got %+v", status)
	}
	want := "PIL034 AnnotationValue: " + result.Errors[0].Error() + "; " + result.Errors[1].Error()
	if status.Message != want {
		t.Errorf("the message is %q, want %q", status.Message, want)
	}
	if diff := cmp.Diff([]metav1.StatusCause{
		{Type: "FieldValueInvalid", Field: path.String(), Message: result.Errors[0].ErrorBody()},
		{Type: "FieldValueRequired", Field: "spec", Message: result.Errors[1].ErrorBody()},
	}, status.Details.Causes); diff != "" {
		t.Error(diff)
	}
}

func TestRefusalIsBounded(t *testing.T) {
	var errs field.ErrorList
	for range 1000 {
		errs = append(errs, field.Required(field.NewPath("spec"), "is needed"))
	}
	h, _ := newTestHandler(decided(injector.Result{
		Decision: injector.Decision{Verdict: injector.Refuse, Reason: injector.ReasonAnnotationValue}, Errors: errs,
	}))
	status := responseOf(t, post(h, reviewOf(testPod))).Result
	if len(status.Details.Causes) != maxCauses || !strings.HasSuffix(status.Message, "; and 980 more") {
		t.Errorf("%d causes, message ...%q", len(status.Details.Causes), status.Message[len(status.Message)-40:])
	}
}

func TestWarningsReachTheClientWhole(t *testing.T) {
	warning := func(text string) injector.Warning {
		return injector.Warning{Reason: injector.ReasonUnknownAnnotation, Message: text}
	}
	many := make([]injector.Warning, 0, 100)
	for range cap(many) {
		many = append(many, warning(strings.Repeat("ä", 300)))
	}
	tests := map[string]struct {
		warnings []injector.Warning
		count    int
		last     string
	}{
		"none":       {nil, 0, ""},
		"one":        {[]injector.Warning{warning("look")}, 1, "PIL050: look"},
		"control":    {[]injector.Warning{warning("a\nb\u202ec")}, 1, "PIL050: a\ufffdb\ufffdc"},
		"not UTF-8":  {[]injector.Warning{warning("a\xffb")}, 1, "PIL050: a\ufffdb"},
		"exactly 16": {many[:16], 16, "PIL050: " + strings.Repeat("ä", 245) + "..."},
		"17":         {many[:17], 16, "... and 2 more; `pillionctl why` shows all"},
		"100":        {many, 16, "... and 85 more; `pillionctl why` shows all"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			got := fitWarnings(test.warnings)
			if len(got) != test.count || (len(got) > 0 && got[len(got)-1] != test.last) {
				t.Errorf("got %d warnings %q, want %d that end with %q", len(got), got, test.count, test.last)
			}
			total := 0
			for _, text := range got {
				total += utf8.RuneCountInString(text)
				if utf8.RuneCountInString(text) > 256 || !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
					t.Errorf("kube-apiserver would change or drop %q", text)
				}
			}
			if total > 4096 {
				t.Errorf("%d characters in all", total)
			}
		})
	}
}
