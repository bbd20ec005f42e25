package manifest

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPodPaths: where the pod is in each kind of workload, and what is none.
func TestPodPaths(t *testing.T) {
	template := func(path string) string {
		var text strings.Builder
		names := strings.Split(path, ".")
		for n, name := range names {
			text.WriteString(strings.Repeat("  ", n) + name + ":\n")
		}
		indent := strings.Repeat("  ", len(names))
		return text.String() + indent + "metadata: {labels: {a: b}}\n" + indent + "spec: {containers: [{name: c}]}\n"
	}
	tests := []struct{ kind, body, path string }{
		{"Deployment", template("spec.template"), "spec.template"},
		{"StatefulSet", template("spec.template"), "spec.template"},
		{"DaemonSet", template("spec.template"), "spec.template"},
		{"ReplicaSet", template("spec.template"), "spec.template"},
		{"ReplicationController", template("spec.template"), "spec.template"},
		{"Job", template("spec.template"), "spec.template"},
		{"CronJob", template("spec.jobTemplate.spec.template"), "spec.jobTemplate.spec.template"},
		{"PodTemplate", template("template"), "template"},
		{"Rollout", template("spec.template"), "spec.template"},
		{"Rollout", "spec: {workloadRef: {name: x}}\n", "none"},
		{"SomethingScheduled", template("spec.jobTemplate.spec.template"), "spec.jobTemplate.spec.template"},
		{"Certificate", "spec: {template: {spec: {issuer: x}}}\n", "none"},
		{"Pod", "metadata: {name: p}\nspec: {containers: [{name: c}]}\n", ""},
		{"Deployment", "spec: {template: {}}\n", "spec.template"},
		{"Deployment", "spec: {template: x}\n", "none"},
	}
	for _, test := range tests {
		stream, err := Read("f", []byte("kind: "+test.kind+"\n"+test.body))
		if err != nil {
			t.Fatal(err)
		}
		got := "none"
		if pods := stream.Objects()[0].Pods; len(pods) > 0 {
			got = pods[0].Path
		}
		if got != test.path {
			t.Errorf("%s: the pod is at %q, not %q:\n%s", test.kind, got, test.path, test.body)
		}
	}
}

func TestObjects(t *testing.T) {
	const text = `# a comment
---
apiVersion: v1
kind: Namespace
metadata:
  name: shop
  labels: {a: b}
---
kind: List
items:
- kind: Pod
  metadata: {generateName: web-, namespace: shop}
  spec: {}
- kind: ServiceList
  items:
  - kind: Service
    metadata: {name: s, annotations: {x: "1"}}
- 7
---
- a list
`
	stream, err := Read("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, o := range stream.Objects() {
		got = append(got, fmt.Sprint(o.Place(), " ", o, " at ", o.Path, " ", o.Labels, o.Annotations))
	}
	want := []string{
		"f:3 Namespace shop at  map[a:b] map[]",
		"f:11 Pod shop/web- at items[0] map[] map[]",
		"f:16 Service s at items[1].items[0] map[] map[x:1]",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func TestField(t *testing.T) {
	const text = `---
kind: Deployment
spec:
  template:
    metadata:
      annotations:
        a.b/c-d: x
    spec:
      containers:
      - name: one
        ports:
        - containerPort: 80
          protocol: TCP
`
	stream, err := Read("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]int{"spec.template.spec": 8, "spec.template": 4, "spec.template.spec.containers[0]": 10, "spec.nothing": 3, "nothing": 2, "": 2} {
		if got := stream.Objects()[0].LineOf(path); got != want {
			t.Errorf("%s is on line %d, not %d", path, got, want)
		}
	}
	pod := stream.Objects()[0].Pods[0]
	for _, test := range []struct{ field, path, place string }{
		{"metadata.annotations[a.b/c-d]", "spec.template.metadata.annotations[a.b/c-d]", "f:7"},
		{"spec.containers[0].ports[0].protocol", "spec.template.spec.containers[0].ports[0].protocol", "f:13"},
		{"spec.containers[0].image", "spec.template.spec.containers[0].image", "f:10"},
		{"spec.containers[7].image", "spec.template.spec.containers[7].image", "f:9"},
	} {
		path, place := pod.Field(test.field)
		if path != test.path || place != test.place {
			t.Errorf("%s is %s at %s, not %s at %s", test.field, path, place, test.path, test.place)
		}
	}
}

func TestReadErrors(t *testing.T) {
	for _, test := range []struct{ name, text, want string }{
		{"not UTF-8", "a: \xff", "f: is not UTF-8 text"},
		{"two documents without a separator", "a: b\n...\n---x: 1\n", "f:"},
		{"a label that is not text", "kind: Service\nmetadata: {labels: {a: true}}\n", "f:2: the value of a in labels has to be text, and true without quotes is not"},
		{"a number as a name", "kind: Pod\nmetadata: {name: 5}\n", "f:2: this is not a Kubernetes object: metadata.name cannot be a number"},
		{"text for a mapping", "---\nkind: Pod\nmetadata: p\n", "f:3: this is not a Kubernetes object: metadata cannot be a text"},
		{"a tab", "kind: Pod\nmetadata:\n\tname: p\n", "f:3: the YAML cannot be read, since there is a tab before the text: YAML is indented by spaces alone"},
		{"a tab below another indentation", "kind: Pod\nmetadata:\n  name: p\n\t  namespace: n\n", "f:4: the YAML cannot be read, since there is a tab before the text"},
		{"a template", "kind: Pod\nmetadata:\n  name: {{ .Values.name }}\n", "f:3: the YAML cannot be read, since there is a template in it ({{): give what it makes, as `helm template` prints it"},
		{"a template, and the parser's words", "---\nkind: Pod\nmetadata:\n  {{- if .x }}\n  name: p\n", "f:4: the YAML cannot be read, since there is a template in it ({{): give what it makes, as `helm template` prints it (the parser says of line 3: did not find expected node content)"},
		{"a template on the first line", "{{- if .x }}\nkind: Pod\n{{- end }}\n", "f:1: the YAML cannot be read, since there is a template in it ({{): give what it makes, as `helm template` prints it (the parser says: did not find expected node content)"},
		{"a template behind others that are quoted", "a: '{{ x }}'\nb: '{{ x }}'\nc: [{{ x }}]\n", "f:3: the YAML cannot be read, since there is a template in it ({{): give what it makes, as `helm template` prints it (the parser says: invalid map key: "},
		{"a template in quotes above", "kind: Pod\nsummary: '{{ $labels.pod }} is down'\nlist: [\n", "f:3: the YAML cannot be read, look at this line and the one above: did not find expected node content"},
		{"a template in quotes on the line", "kind: Pod\nx: y\nlist: ['{{ x }}'\n", "f:2: the YAML cannot be read, look at this line and the one above: did not find expected ',' or ']'"},
		{"a template in a text on the line", "kind: Pod\nx: y\nlist: [a-{{ x }}\n", "f:2: the YAML cannot be read, look at this line and the one above: did not find expected"},
		{"a template and an unknown anchor", "kind: Pod\na: *unknown\nb: {{ x }}\n", "f:1: the YAML cannot be read: unknown anchor 'unknown' referenced"},
		{"a tab, and the parser's words", "---\nkind: Pod\nmetadata:\n\tname: p\n", "f:4: the YAML cannot be read, since there is a tab before the text: YAML is indented by spaces alone (the parser says of line 4: found character that cannot start any token)"},
		{"a tab on the first line", "\tkind: Pod\n", "f:1: the YAML cannot be read, since there is a tab before the text"},
		{"tabs in a text above", "kind: Pod\nm: |\n  all:\n  \tgo build\nlist: [\nb: c\n", "f:4: the YAML cannot be read, look at this line and the one above: did not find expected ',' or ']'"},
		{"a tab below what cannot start a token", "kind: Pod\na: @\n\tb: c\n", "f:2: the YAML cannot be read, look at this line and the one above: found character that cannot start any token"},
		{"a template elsewhere", "kind: Pod\nx: '{{ a }}'\ny: z\nz: y\nmetadata: [\n", "f:5: the YAML cannot be read, look at this line"},
		{"two objects without a separator", "kind: Pod\nmetadata: {name: a}\nkind: Pod\n", `f:3: the key "kind" is there twice: remove one of the two, or put a line --- between two objects`},
		{"a key twice", "kind: Pod\nspec: {a: 1, a: 2}\n", `f:2: the key "a" is there twice: remove one of the two`},
		{"JSON with an end missing", "{\"kind\": \"Pod\",\n\"x\": [\n", "f:2: the YAML cannot be read"},
	} {
		_, err := Read("f", []byte(test.text))
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s", test.name, err, test.want)
		}
	}
}

// TestReadAll: what can be read is read, and everything is said of what cannot.
func TestReadAll(t *testing.T) {
	const text = "kind: A\n---\nkind: [\n---\nkind: B\nmetadata: b\n--- kind: C\n---\nkind: D\n---\nkind: E\n\tx: y\n"
	stream, errs := ReadAll("f", []byte(text))
	var got []string
	for _, o := range stream.Objects() {
		got = append(got, fmt.Sprintf("%s on line %d", o.Kind, o.Line))
	}
	for _, err := range errs {
		got = append(got, fmt.Sprintf("error on line %d", err.Line))
	}
	want := []string{"A on line 1", "D on line 9", "error on line 3", "error on line 6", "error on line 7", "error on line 12"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s\n%v", diff, errs)
	}
}

// TestEditErrors: a patch that does not fit says where.
func TestEditErrors(t *testing.T) {
	const text = "kind: Pod\nmetadata:\n  name: p\nspec:\n  containers:\n  - name: c\n"
	for _, test := range []struct{ patch, want string }{
		{`[{"op":"replace","path":"/spec/containers/3/name","value":"x"}]`, "f:1: applying a patch"},
		{`[{"op":"add","path":"/metadata/labels/a","value":"x"}]`, "f:1: applying a patch"},
	} {
		stream, err := Read("f", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if err := stream.Objects()[0].Pods[0].Edit([]byte(test.patch)); err != nil {
			t.Fatal(err)
		}
		if out, err := stream.Text(); err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %v, want %s; text %q", test.patch, err, test.want, out)
		}
	}
	stream, err := Read("f", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, patch := range []string{"{", `[{"op":"replace","path":"","value":{}}]`, `[{"op":"move","path":"/a","from":"/b"}]`} {
		if err := stream.Objects()[0].Pods[0].Edit([]byte(patch)); err == nil || !strings.HasPrefix(err.Error(), "f:1: reading the patch for Pod p") {
			t.Errorf("%s was taken: %v", patch, err)
		}
	}
}
