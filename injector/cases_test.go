package injector_test

import (
	"bytes"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/tools/txtar"
	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	"sigs.k8s.io/yaml"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
)

var update = flag.Bool("update", false, "write the expected parts of testdata/cases anew")

// now is a fixed day, against which the cases' expiry dates are.
var now = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// TestCases runs testdata/cases/*.txtar. A case gives pod.yaml, and where it
// matters config.yaml and namespace.yaml (name, labels); it expects result.txt
// and, for an injected pod, injected.yaml. Each case also proves that fields
// unknown to this program survive and that a second pass changes nothing.
func TestCases(t *testing.T) {
	paths, err := filepath.Glob("testdata/cases/*.txtar")
	if err != nil || len(paths) == 0 {
		t.Fatalf("no cases: %v", err)
	}
	for _, path := range paths {
		t.Run(strings.TrimSuffix(filepath.Base(path), ".txtar"), func(t *testing.T) { runCase(t, path) })
	}
}

func runCase(t *testing.T, path string) {
	t.Helper()
	archive, err := txtar.ParseFile(path)
	if err != nil {
		t.Fatal(err)
	}
	c := readCase(t, archive)
	result, injected := c.inject(t, c.pod)
	got := map[string]string{"result.txt": describe(result)}
	if len(result.Patch) > 0 {
		asYAML, err := yaml.JSONToYAML(injected)
		if err != nil {
			t.Fatal(err)
		}
		got["injected.yaml"] = string(asYAML)
	}
	if *update {
		writeExpected(t, path, archive, got)
		return
	}
	for _, name := range []string{"result.txt", "injected.yaml"} {
		if diff := cmp.Diff(c.expected[name], got[name]); diff != "" {
			t.Errorf("%s (-expected +got):\n%s", name, diff)
		}
	}
	c.checkUnknownFieldsSurvive(t, injected)
	c.checkSecondPass(t, result, injected)
}

type testCase struct {
	injector  *injector.Injector
	namespace injector.Namespace
	pod       []byte // JSON
	expected  map[string]string
}

func readCase(t *testing.T, archive *txtar.Archive) *testCase {
	t.Helper()
	c := &testCase{namespace: injector.Namespace{Name: "shop"}, expected: map[string]string{}}
	config := v1alpha1.DefaultConfig()
	for _, f := range archive.Files {
		var err error
		switch f.Name {
		case "config.yaml":
			config, err = v1alpha1.Decode(append([]byte("apiVersion: pillion.dev/v1alpha1\nkind: InjectorConfig\n"), f.Data...))
		case "namespace.yaml":
			err = yaml.UnmarshalStrict(f.Data, &c.namespace)
		case "pod.yaml":
			c.pod, err = yaml.YAMLToJSONStrict(f.Data)
		default:
			c.expected[f.Name] = string(f.Data)
		}
		if err != nil {
			t.Fatalf("%s: %v", f.Name, err)
		}
	}
	var err error
	if c.injector, err = injector.New(config); err != nil {
		t.Fatal(err)
	}
	return c
}

// inject decides on a pod and applies the patch with kube-apiserver's engine.
func (c *testCase) inject(t *testing.T, pod []byte) (injector.Result, []byte) {
	t.Helper()
	return injectWith(t, c.injector, c.namespace, pod)
}

func injectWith(tb testing.TB, i *injector.Injector, ns injector.Namespace, raw []byte) (injector.Result, []byte) {
	tb.Helper()
	pod, err := injector.DecodePod(raw)
	if err != nil {
		tb.Fatal(err)
	}
	result := i.Inject(injector.Request{Pod: pod, Namespace: ns, Now: now})
	if err := injector.CheckPatch(raw, result.Patch); err != nil {
		tb.Fatalf("the self-check refuses the patch: %v", err)
	}
	return result, applyPatch(tb, raw, result)
}

func applyPatch(tb testing.TB, raw []byte, result injector.Result) []byte {
	tb.Helper()
	encoded, err := injector.AppendPatch(nil, result.Patch)
	if err != nil {
		tb.Fatal(err)
	}
	patch, err := jsonpatch.DecodePatch(encoded)
	if err != nil {
		tb.Fatalf("kube-apiserver's engine cannot read the patch %s: %v", encoded, err)
	}
	injected, err := patch.Apply(raw)
	if err != nil {
		tb.Fatalf("kube-apiserver's engine cannot apply the patch %s: %v", encoded, err)
	}
	return injected
}

// describe is a result for people to compare.
func describe(r injector.Result) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s\n%s\n", r.Decision.Verdict, r.Decision.Reason, r.Message)
	for _, w := range r.Warnings {
		fmt.Fprintf(&b, "warning %s\n", w)
	}
	for _, op := range r.Patch {
		fmt.Fprintf(&b, "patch %s %s\n", op.Operation, op.Path)
	}
	return b.String()
}

func writeExpected(t *testing.T, path string, archive *txtar.Archive, got map[string]string) {
	t.Helper()
	kept := archive.Files[:0]
	for _, f := range archive.Files {
		if f.Name != "result.txt" && f.Name != "injected.yaml" {
			kept = append(kept, f)
		}
	}
	archive.Files = kept
	for _, name := range []string{"result.txt", "injected.yaml"} {
		if data, ok := got[name]; ok {
			archive.Files = append(archive.Files, txtar.File{Name: name, Data: []byte(data)})
		}
	}
	if err := os.WriteFile(path, txtar.Format(archive), 0o644); err != nil {
		t.Fatal(err)
	}
}

// checkSecondPass injects the injected pod again, as reinvocation does.
func (c *testCase) checkSecondPass(t *testing.T, first injector.Result, injected []byte) {
	t.Helper()
	second, again := c.inject(t, injected)
	if len(second.Patch) != 0 || !bytes.Equal(again, injected) {
		t.Errorf("a second pass changes the pod:\n%s", describe(second))
	}
	if first.Decision.Verdict == injector.Inject && second.Decision.Reason != injector.ReasonAlreadyInjected {
		t.Errorf("a second pass decides %v", second.Decision)
	}
}
