package meshservice

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// TestStatusOfVerdicts: what became of a document is in the conditions, and what was rendered
// before stays in force while nothing new is.
func TestStatusOfVerdicts(t *testing.T) {
	const before = "v1"
	for name, test := range map[string]struct {
		verdict verdict
		version string
		want    []string
		state   string
	}{
		"stored": {
			verdict{version: "v2", bytes: 10, warnings: []string{"spec: hardly meant"}}, "v2",
			[]string{"Accepted True Valid: the document is valid", "Rendered True Stored: version v2, of 10 bytes, is in ConfigMap pillion-mesh-shop"}, stateUnderway,
		},
		"not valid": {
			verdict{problems: errors.New("spec: wrong")}, before,
			[]string{"Accepted False Invalid: spec: wrong", "Rendered False Invalid: the document is not valid; what was rendered before, version v1, stays in force"}, stateInvalid,
		},
		"not rendered": {
			verdict{failed: errors.New("no cluster"), reason: reasonRenderFailed}, before,
			[]string{"Accepted True Valid: the document is valid", "Rendered False RenderFailed: no cluster; what was rendered before, version v1, stays in force"}, stateNotRendered,
		},
		"too large": {
			verdict{failed: errors.New("some have to go"), reason: reasonTooLarge}, before,
			[]string{"Accepted True Valid: the document is valid", "Rendered False TooLarge: some have to go; what was rendered before, version v1, stays in force"}, stateNotRendered,
		},
		"not stored": {
			verdict{version: "v2", failed: errors.New("no space"), reason: reasonStoreFailed}, before,
			[]string{"Accepted True Valid: the document is valid", "Rendered False StoreFailed: no space; what was rendered before, version v1, stays in force"}, stateNotRendered,
		},
	} {
		t.Run(name, func(t *testing.T) {
			k := &Keeper{services: map[types.NamespacedName]service{}}
			after := k.status(documentOf(t, ""), &v1alpha1.MeshServiceStatus{Version: before}, test.verdict)
			var got []string
			for _, c := range after.Conditions {
				if c.ObservedGeneration != 7 {
					t.Errorf("%s is about generation %d, want 7", c.Type, c.ObservedGeneration)
				}
				if c.Type != v1alpha1.ConditionApplied {
					got = append(got, fmt.Sprintf("%s %s %s: %s", c.Type, c.Status, c.Reason, c.Message))
				}
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if after.ObservedGeneration != 7 || !slices.Equal(after.Warnings, test.verdict.warnings) {
				t.Errorf("generation %d with the warnings %q", after.ObservedGeneration, after.Warnings)
			}
			if after.Version != test.version {
				t.Errorf("version %q is in force, want %q", after.Version, test.version)
			}
			if state := stateOf(after); state != test.state {
				t.Errorf("the metrics have it as %s, want %s", state, test.state)
			}
		})
	}
	k := &Keeper{services: map[types.NamespacedName]service{}}
	first := k.status(documentOf(t, ""), &v1alpha1.MeshServiceStatus{}, verdict{failed: errors.New("no cluster"), reason: reasonRenderFailed})
	if c := meta.FindStatusCondition(first.Conditions, v1alpha1.ConditionApplied); c.Status != metav1.ConditionFalse || c.Reason != reasonRenderFailed {
		t.Errorf("without one before, Applied is %s %s", c.Status, c.Reason)
	}
	long := k.status(documentOf(t, ""), &v1alpha1.MeshServiceStatus{}, verdict{problems: errors.New(strings.Repeat("a", 2*maxMessage))})
	for _, c := range long.Conditions {
		if c.Type != v1alpha1.ConditionRendered && len(c.Message) != maxMessage {
			t.Errorf("%s says %d bytes", c.Type, len(c.Message))
		}
	}
	if message := first.Conditions[1].Message; !strings.HasSuffix(message, "; nothing was rendered yet, and pods pass their traffic through") {
		t.Errorf("without one before, Rendered says %q", message)
	}
}

// TestAppliedOfWhatIsMissing: who waits for Applied is not told that all pods run a document
// when they run the one before, and sees why.
func TestAppliedOfWhatIsMissing(t *testing.T) {
	for name, test := range map[string]struct {
		verdict verdict
		want    string
	}{
		"stored": {verdict{version: "v1"}, "True AllPods: 2 of 2 pods run version v1"},
		"not valid": {verdict{problems: errors.New("spec: wrong")},
			"False Invalid: spec: wrong; what was rendered before, version v1, stays in force; 2 of 2 pods run version v1"},
		"too large": {verdict{failed: errors.New("some have to go"), reason: reasonTooLarge},
			"False TooLarge: some have to go; what was rendered before, version v1, stays in force; 2 of 2 pods run version v1"},
		"not rendered": {verdict{failed: errors.New("no cluster"), reason: reasonRenderFailed},
			"False RenderFailed: no cluster; what was rendered before, version v1, stays in force; 2 of 2 pods run version v1"},
		"not stored": {verdict{version: "v2", failed: errors.New("no space"), reason: reasonStoreFailed},
			"False StoreFailed: no space; what was rendered before, version v1, stays in force; 2 of 2 pods run version v1"},
		"changed since it was stored": {verdict{version: "v1", failed: &contestedError{}, reason: reasonContested}, "True AllPods: 2 of 2 pods run version v1"},
		"deleted since it was stored": {verdict{version: "v1", failed: &contestedError{deleted: true}, reason: reasonContested},
			"False Contested: " + (&contestedError{deleted: true}).Error() + "; pods pass their traffic through while it is not there; 2 of 2 pods run version v1"},
		// Its content may be the same, or one that pods refuse: they say.
		"another's since it was stored": {verdict{version: "v1", failed: &takenError{}, reason: reasonNameTaken}, "True AllPods: 2 of 2 pods run version v1"},
	} {
		t.Run(name, func(t *testing.T) {
			document := documentOf(t, "")
			counted := &tally{version: "v1", pods: v1alpha1.MeshServicePods{Total: 2, Current: 2}}
			k := &Keeper{services: map[types.NamespacedName]service{client.ObjectKeyFromObject(document): {tally: counted}}}
			expect := func(status *v1alpha1.MeshServiceStatus, want string) {
				t.Helper()
				c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionApplied)
				if got := fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message); got != want || c.ObservedGeneration != 7 || status.Pods != counted.pods {
					t.Errorf("Applied is %s, of generation %d, with %+v; want %s", got, c.ObservedGeneration, status.Pods, want)
				}
			}
			said := k.status(document, &v1alpha1.MeshServiceStatus{Version: "v1"}, test.verdict)
			expect(said, test.want)
			// A controller that has just started has asked no pod.
			k.services = map[types.NamespacedName]service{}
			expect(k.status(document, said, test.verdict), test.want)
		})
	}
	k := &Keeper{services: map[types.NamespacedName]service{}}
	failed := k.status(documentOf(t, ""), &v1alpha1.MeshServiceStatus{Version: "v1"}, verdict{version: "v2", failed: errors.New("no space"), reason: reasonStoreFailed})
	again := k.status(documentOf(t, ""), failed, verdict{version: "v1"})
	if c := meta.FindStatusCondition(again.Conditions, v1alpha1.ConditionApplied); c.Reason != reasonNotAsked {
		t.Errorf("with what is in force once more, Applied is %s: %s", c.Reason, c.Message)
	}
}

// TestAppliedOfAnotherVersion: what the pods said of one version is nothing about another,
// and a problem is not told in the words of the one before it.
func TestAppliedOfAnotherVersion(t *testing.T) {
	document := documentOf(t, "")
	counted := &tally{version: "v1", pods: v1alpha1.MeshServicePods{Total: 2, Current: 2}}
	k := &Keeper{services: map[types.NamespacedName]service{client.ObjectKeyFromObject(document): {tally: counted}}}
	applied := func(status *v1alpha1.MeshServiceStatus) string {
		c := meta.FindStatusCondition(status.Conditions, v1alpha1.ConditionApplied)
		return fmt.Sprintf("%s %s: %s", c.Status, c.Reason, c.Message)
	}
	first := k.status(document, &v1alpha1.MeshServiceStatus{Version: "v1"}, verdict{version: "v1"})
	second := k.status(document, first, verdict{version: "v2"})
	if got := applied(second); got != "Unknown NotAskedYet: the pods were not asked about version v2 yet" || second.Pods != (v1alpha1.MeshServicePods{Total: 2, Unknown: 2}) {
		t.Errorf("of v2 it is %s, with %+v", got, second.Pods)
	}
	k.services = map[types.NamespacedName]service{}
	if got := applied(k.status(document, &v1alpha1.MeshServiceStatus{Version: "v1"}, verdict{version: "v1"})); !strings.HasPrefix(got, "Unknown NotAskedYet: ") {
		t.Errorf("where nothing was said of it, it is %s", got)
	}
	wrong := k.status(document, first, verdict{problems: errors.New("spec: wrong")})
	if got := applied(k.status(document, wrong, verdict{problems: errors.New("spec: otherwise")})); !strings.HasPrefix(got, "False Invalid: spec: otherwise; ") {
		t.Errorf("of another problem it is %s", got)
	}
}

func TestShorten(t *testing.T) {
	for text, want := range map[string]string{
		"short enough for it": "short enough for it", "much longer than that is": "much long (and more)", "muchlongé than that": "muchlongé than that", "muchlongéé than that is": "muchlong (and more)",
	} {
		if got := shorten(text, 20); got != want {
			t.Errorf("%q is %q, want %q", text, got, want)
		}
	}
}

// TestStateAndForeign: what the metrics and the questions to pods take from the conditions.
func TestStateAndForeign(t *testing.T) {
	for _, test := range []struct {
		kind    string
		status  metav1.ConditionStatus
		reason  string
		state   string
		foreign bool
	}{
		{v1alpha1.ConditionApplied, metav1.ConditionTrue, reasonAllPods, stateApplied, false},
		{v1alpha1.ConditionApplied, metav1.ConditionFalse, reasonRejected, stateRejected, false},
		{v1alpha1.ConditionApplied, metav1.ConditionFalse, reasonUnderway, stateUnderway, false},
		{v1alpha1.ConditionApplied, metav1.ConditionUnknown, reasonNoAnswer, stateUnderway, false},
		{v1alpha1.ConditionRendered, metav1.ConditionFalse, reasonNameTaken, stateNotRendered, true},
		{v1alpha1.ConditionRendered, metav1.ConditionFalse, reasonContested, stateNotRendered, true},
		{v1alpha1.ConditionRendered, metav1.ConditionFalse, reasonStoreFailed, stateNotRendered, false},
		{v1alpha1.ConditionAccepted, metav1.ConditionFalse, reasonInvalid, stateInvalid, false},
	} {
		status := &v1alpha1.MeshServiceStatus{Conditions: []metav1.Condition{{Type: test.kind, Status: test.status, Reason: test.reason}}}
		if state, foreign := stateOf(status), isForeign(status); state != test.state || foreign != test.foreign {
			t.Errorf("%s %s %s: %s, and another hand has it: %t", test.kind, test.status, test.reason, state, foreign)
		}
	}
}

// TestOnlyNewsAreTold: a MeshService is brought again when its pods say something else.
func TestOnlyNewsAreTold(t *testing.T) {
	k := &Keeper{again: make(chan event.GenericEvent, 1), services: map[types.NamespacedName]service{named("shop"): {version: "v1"}}}
	for n, test := range []struct {
		service string
		current int32
		news    bool
	}{{"shop", 1, true}, {"shop", 1, false}, {"shop", 2, true}, {"gone", 1, false}} {
		k.tell(t.Context(), named(test.service), &tally{version: "v1", pods: v1alpha1.MeshServicePods{Total: 2, Current: test.current}})
		select {
		case told := <-k.again:
			if !test.news || told.Object.GetName() != "shop" || told.Object.GetNamespace() != "n" {
				t.Errorf("%d: told of %s/%s", n, told.Object.GetNamespace(), told.Object.GetName())
			}
		default:
			if test.news {
				t.Errorf("%d: nothing is told", n)
			}
		}
	}
}
