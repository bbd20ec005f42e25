package e2e

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/kubernetes"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
)

// definitionFile is the CustomResourceDefinition of MeshService, as it is generated.
const definitionFile = chartFolder + "/files/crds/pillion.dev_meshservices.yaml"

// defineMeshServices makes kube-apiserver know MeshServices, as the chart does.
func defineMeshServices(t *testing.T, c client.Client) {
	t.Helper()
	definition := readObject(t, definitionFile)
	if err := c.Create(t.Context(), definition); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatalf("kube-apiserver does not take the definition: %v", err)
	}
	eventually(t, "the definition is established", func() bool {
		if err := c.Get(t.Context(), client.ObjectKeyFromObject(definition), definition); err != nil {
			t.Fatal(err)
		}
		return conditionsOf(definition)["Established"] == "True"
	})
	// The definition is established before it is served.
	list := &unstructured.UnstructuredList{}
	list.SetGroupVersionKind(v1alpha1.GroupVersion().WithKind(v1alpha1.KindMeshService))
	eventually(t, "MeshServices are served", func() bool { return c.List(t.Context(), list) == nil })
}

func readObject(t *testing.T, path string) *unstructured.Unstructured {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return parseObject(t, data)
}

func parseObject(t *testing.T, data []byte) *unstructured.Unstructured {
	t.Helper()
	text, err := yaml.YAMLToJSON(data)
	if err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	object := &unstructured.Unstructured{}
	if err := object.UnmarshalJSON(text); err != nil {
		t.Fatalf("%v\n%s", err, data)
	}
	return object
}

// conditionsOf are the status of an object's conditions by type.
func conditionsOf(object *unstructured.Unstructured) map[string]string {
	list, _, err := unstructured.NestedSlice(object.Object, "status", "conditions")
	if err != nil {
		return nil // null, as long as nobody has looked at it
	}
	conditions := map[string]string{}
	for _, item := range list {
		if condition, ok := item.(map[string]any); ok {
			kind, _ := condition["type"].(string)
			conditions[kind], _ = condition["status"].(string)
		}
	}
	return conditions
}

// applied is what kube-apiserver says to a MeshService that is created in a namespace,
// strictly, as kubectl does it. Nothing is stored.
func applied(t *testing.T, c client.Client, namespace string, document *unstructured.Unstructured) error {
	t.Helper()
	given := document.DeepCopy()
	given.SetNamespace(namespace)
	// What only a server writes cannot be created.
	unstructured.RemoveNestedField(given.Object, "status")
	for _, field := range []string{"resourceVersion", "uid", "managedFields", "creationTimestamp", "generation"} {
		unstructured.RemoveNestedField(given.Object, "metadata", field)
	}
	return client.WithFieldValidation(c, "Strict").Create(t.Context(), given, client.DryRunAll)
}

func TestMeshServiceDefinition(t *testing.T) {
	c := apiServer(t)
	defineMeshServices(t, c)
	definition := readObject(t, definitionFile)
	if err := c.Get(t.Context(), client.ObjectKeyFromObject(definition), definition); err != nil {
		t.Fatal(err)
	}
	conditions := conditionsOf(definition)
	if conditions["NamesAccepted"] != "True" || conditions["NonStructuralSchema"] == "True" || conditions["KubernetesAPIApprovalPolicyConformant"] == "False" {
		t.Errorf("the definition is not as it should be: %v", conditions)
	}
}

// TestMeshServicesThatAreAccepted: every good document of the tests and of the pages
// for owners is taken by kube-apiserver.
func TestMeshServicesThatAreAccepted(t *testing.T) {
	c := apiServer(t)
	defineMeshServices(t, c)
	namespace := newNamespace(t, c, "mesh-", nil)
	for _, path := range goodDocuments(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			if err := applied(t, c, namespace, readObject(t, path)); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		})
	}
}

func goodDocuments(t *testing.T) []string {
	t.Helper()
	var paths []string
	for _, pattern := range []string{"../api/v1alpha1/testdata/mesh/good/*", "../docs/services/examples/*"} {
		found, err := filepath.Glob(pattern)
		if err != nil || len(found) == 0 {
			t.Fatalf("no documents %s (%v)", pattern, err)
		}
		paths = append(paths, found...)
	}
	return paths
}

// TestMeshServicesAreRefusedAtApplyTime: kube-apiserver refuses by the definition
// alone, without a webhook, what a schema can tell, and says why.
func TestMeshServicesAreRefusedAtApplyTime(t *testing.T) {
	c := apiServer(t)
	defineMeshServices(t, c)
	namespace := newNamespace(t, c, "mesh-", nil)
	const tcp = "only connections are seen: here connectTimeout and breakers.maxConnections are accepted"
	one := func(fields string) string {
		return "egress: [{name: users, host: users.example.com, port: 80, " + fields + "}]"
	}
	host := func(host string) string { return "egress: [{name: users, port: 80, host: '" + host + "'}]" }
	for _, test := range []struct{ spec, want string }{
		{"inbuond: []", `unknown field "spec.inbuond"`},
		{"inbound: [{port: 0}]", "spec.inbound[0].port: Invalid value: 0: spec.inbound[0].port in body should be greater than or equal to 1"},
		{"inbound: [{port: 15006}]", "must not be from 15000 to 15099: those are the sidecar's own"},
		{"inbound: [{port: 80}, {port: 80}]", `spec.inbound[1]: Duplicate value: {"port":80}`},
		{"inbound: [{port: 80, protocol: http}]", `spec.inbound[0].protocol: Unsupported value: "http": supported values: "HTTP", "TCP"`},
		{"inbound: [{port: 80, protocol: TCP, timeout: 1s}]", "of protocol TCP only bytes are seen: here maxConnections is accepted"},
		{"inbound: [{port: 80, timeout: 2h}]", "spec.inbound[0].timeout: Invalid value: \"2h\": must be from 1ms to 1h, or 0s for none"},
		{"inbound: [{port: 80, timeout: 5}]", "spec.inbound[0].timeout in body must be of type duration"},
		{"inbound: [{port: 80, timeout: '5'}]", "spec.inbound[0].timeout"},
		{"inbound: [{port: 80, timeout: 5 seconds}]", "spec.inbound[0].timeout"},
		{"inbound: [{port: 80, timeout: 1w}]", "spec.inbound[0].timeout"},
		{"inbound: [{port: 80, adaptiveConcurrency: {minConcurrency: 1001}}]", "minConcurrency (3 if not given) must be at most maxConcurrency (1000 if not given)"},
		{"inbound: [{port: 80, rateLimit: {}}]", "spec.inbound[0].rateLimit.requests: Required value"},
		{"inbound: [{port: 80, rateLimit: {requests: 1, per: 10ms}}]", "must be from 50ms to 1h"},
		{"egress: [{name: a, port: 80}]", "give host (a DNS name) or service (a Kubernetes Service), one of them"},
		{"egress: [{name: a, port: 80, host: a.example.com, service: {name: a}}]", "give host (a DNS name) or service (a Kubernetes Service), one of them"},
		{"egress: [{name: a, port: 80, service: {name: a.b}}]", "spec.egress[0].service.name"},
		{"egress: [{name: a, host: a, port: 80}, {name: a, host: b, port: 80}]", `spec.egress[1]: Duplicate value: {"name":"a"}`},
		{"egress: [{name: A, host: a, port: 80}]", "must be of a-z, 0-9 and -, with a letter or digit at both ends"},
		{"egress: [{name: blackhole, host: a, port: 80}]", "must not be blackhole: in statistics that is what is refused"},
		{host("10.0.0.1"), "must be a DNS name as api.example.com, not an address: what is called by address is undeclared"},
		{host("2130706433"), "must be a DNS name as api.example.com, not an address: what is called by address is undeclared"},
		{host("0x7f.1"), "must be a DNS name as api.example.com, not an address: what is called by address is undeclared"},
		{host("::ffff:169.254.169.254"), "must be a DNS name in lower case as api.example.com, without port, wildcard or dot at its end"},
		{host("*.example.com"), "must be a DNS name in lower case as api.example.com, without port, wildcard or dot at its end"},
		{host("localhost"), "must not be the pod itself or the cloud's metadata service: they never come to the sidecar"},
		{host("metadata.google.internal"), "must not be the pod itself or the cloud's metadata service: they never come to the sidecar"},
		{one("protocol: TCP, timeout: 1s"), tcp},
		{one("protocol: TLS, outlierDetection: {}"), tcp},
		{one("protocol: TLS, breakers: {maxRequests: 1}"), tcp},
		{one("protocol: HTTP1, retries: {safeMethods: [a.B/C]}"), "do not go with protocol HTTP1: gRPC needs HTTP/2"},
		{one("retries: {attempts: 6}"), "spec.egress[0].retries.attempts: Invalid value: 6: spec.egress[0].retries.attempts in body should be less than or equal to 5"},
		{one("retries: {when: []}"), "spec.egress[0].retries.when"},
		{one("retries: {when: [Reset, Reset]}"), `spec.egress[0].retries.when[1]: Duplicate value: "Reset"`},
		{one("timeout: 1s, retries: {perTryTimeout: 1s}"), "retries.perTryTimeout must be below timeout: nothing of it would be left for a retry"},
		{one("routes: [{to: users, headers: [{name: x, value: v}]}]"), "routes[].to must be another destination than the one that the route is of"},
		{one("routes: [{to: b}]"), "give headers or grpc: a route for all requests would take the place of the destination"},
		{one("routes: [{to: b, grpc: {service: S}, fallback: {after: 1s}}]"), "after goes with when: Fails only: what is absent is known at once"},
		{one("routes: [{to: b, grpc: {service: /S}}]"), "spec.egress[0].routes[0].grpc.service"},
		{one("routes: [{to: b, headers: [{name: ':path', value: v}]}]"), "spec.egress[0].routes[0].headers[0].name"},
		{"undeclaredEgress: Refuse", `spec.undeclaredEgress: Unsupported value: "Refuse": supported values: "Passthrough", "Refused"`},
		{"statistics: {maxSeries: 1}", "spec.statistics.maxSeries"},
	} {
		document := parseObject(t, meshDocument(test.spec))
		err := applied(t, c, namespace, document)
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s\n got %v\nwant %s", test.spec, err, test.want)
		}
		if _, err := v1alpha1.DecodeMeshService(meshDocument(test.spec)); err == nil {
			t.Errorf("%s: kube-apiserver refuses what DecodeMeshService accepts", test.spec)
		}
	}
	t.Run("too long a name", func(t *testing.T) {
		document := parseObject(t, meshDocument("undeclaredEgress: Refused"))
		document.SetName(strings.Repeat("a", v1alpha1.LongestMeshService+1))
		if err := applied(t, c, namespace, document); err == nil || !strings.Contains(err.Error(), "metadata.name must have at most 240 characters") {
			t.Errorf("got %v", err)
		}
	})
}

// meshDocument is a MeshService with that spec, given as the fields of one or more lines.
func meshDocument(spec string) []byte {
	return []byte("apiVersion: pillion.dev/v1alpha1\nkind: MeshService\nmetadata: {name: cart}\nspec:\n  " + strings.ReplaceAll(spec, "\n", "\n  ") + "\n")
}

// TestMeshServiceColumns: what `kubectl get meshservice` shows of one that a pod's Envoy
// did not accept.
func TestMeshServiceColumns(t *testing.T) {
	c := apiServer(t)
	defineMeshServices(t, c)
	namespace := newNamespace(t, c, "mesh-", nil)
	mesh := &v1alpha1.MeshService{ObjectMeta: metav1.ObjectMeta{Name: "cart", Namespace: namespace}}
	typed := meshClient(t)
	if err := typed.Create(t.Context(), mesh); err != nil {
		t.Fatal(err)
	}
	mesh.Status = v1alpha1.MeshServiceStatus{
		Pods: v1alpha1.MeshServicePods{Total: 3, Current: 2, Rejected: 1},
		Conditions: []metav1.Condition{
			{Type: v1alpha1.ConditionAccepted, Status: metav1.ConditionTrue, Reason: "Valid", LastTransitionTime: metav1.Now()},
			{Type: v1alpha1.ConditionApplied, Status: metav1.ConditionFalse, Reason: "Rejected", Message: "pod cart-1: why", LastTransitionTime: metav1.Now()},
		},
	}
	if err := typed.Status().Update(t.Context(), mesh); err != nil {
		t.Fatal(err)
	}
	clients, err := kubernetes.NewForConfig(world.plane.Config)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := clients.RESTClient().Get().AbsPath("/apis/pillion.dev/v1alpha1/namespaces/"+namespace+"/meshservices/cart").
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(answer, &table); err != nil || len(table.Rows) != 1 {
		t.Fatalf("%v\n%s", err, answer)
	}
	var always, wide []string
	for n, column := range table.ColumnDefinitions {
		if column.Name == "Age" {
			continue
		}
		shown := fmt.Sprintf("%s=%v", column.Name, table.Rows[0].Cells[n])
		if column.Priority == 0 {
			always = append(always, shown)
		} else {
			wide = append(wide, shown)
		}
	}
	if want := []string{"Name=cart", "Accepted=True", "Applied=False", "Current=2", "Pods=3", "Reason=Rejected"}; !slices.Equal(always, want) {
		t.Errorf("columns %q, want %q", always, want)
	}
	if want := []string{"Rejected=1", "Message=pod cart-1: why"}; !slices.Equal(wide, want) {
		t.Errorf("wide columns %q, want %q", wide, want)
	}
}
