package delivery

import (
	"context"
	"encoding/json"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/controller"
	"github.com/pillion-mesh/pillion/controller/auditor"
	"github.com/pillion-mesh/pillion/controller/certificates"
	"github.com/pillion-mesh/pillion/controller/meshservice"
	"github.com/pillion-mesh/pillion/e2e/release"
	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/lifecycle"
)

const (
	ownNamespace = "pillion-system"
	statusPort   = 15020
	// patience is how long something may take that takes a second.
	patience = 5 * time.Minute
)

// system is the chart's release in kube-apiserver, with a namespace for a test.
type system struct {
	client    client.Client
	release   *release.Release
	namespace string
	config    *rest.Config // the controller's
	pods      *pods
	// audit is nil where controllers audit nothing.
	audit *auditor.Options
	// leftoverPatience of controllers; 0 is theirs.
	leftoverPatience time.Duration
	// Of the controller that was started last: what it said, and where its status is.
	log       *testLog
	statusURL string
}

func newSystem(t *testing.T) *system {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := clientgoscheme.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	config := rest.CopyConfig(world.plane.Config)
	config.WarningHandlerWithContext = rest.NoWarnings{}
	c, err := client.New(config, client.Options{Scheme: scheme})
	if err != nil {
		t.Fatal(err)
	}
	s := &system{client: c, pods: &pods{servers: map[string]string{}}}
	own := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: ownNamespace}}
	if err := c.Create(t.Context(), own); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	if s.release, err = release.Render(t.Context(), release.Options{
		Helm: world.helm, Chart: "../../charts/pillion", Name: "pillion", Namespace: ownNamespace, KubeVersion: "1.37",
	}); err != nil {
		t.Fatal(err)
	}
	if err := s.release.Install(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	s.waitForKind(t)
	s.namespace = s.newNamespace(t, nil)
	file := filepath.Join(t.TempDir(), "kubeconfig")
	if err := s.release.WriteKubeconfig(t.Context(), world.plane.Config, file); err != nil {
		t.Fatal(err)
	}
	if s.config, err = clientcmd.BuildConfigFromFlags("", file); err != nil {
		t.Fatal(err)
	}
	return s
}

// waitForKind returns when kube-apiserver serves MeshServices.
func (s *system) waitForKind(t *testing.T) {
	t.Helper()
	eventually(t, "MeshServices are served", func() bool {
		return s.client.List(t.Context(), &v1alpha1.MeshServiceList{}) == nil
	})
}

func (s *system) newNamespace(t *testing.T, labels map[string]string) string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "shop-", Labels: labels}}
	if err := s.client.Create(t.Context(), namespace); err != nil {
		t.Fatal(err)
	}
	return namespace.Name
}

// start runs a controller until the test ends or stop is called.
func (s *system) start(t *testing.T) (stop func()) {
	t.Helper()
	log := &testLog{to: t.Output()}
	s.log = log
	c, err := controller.New(s.config, controller.Options{
		Namespace: ownNamespace, Secret: "pillion-webhook-tls", Service: "pillion-webhook", WebhookConfiguration: "pillion", Lease: "pillion-controller",
		Policy:        certificates.Policy{CALifetime: 365 * 24 * time.Hour, ServingLifetime: 24 * time.Hour, Settle: time.Second},
		StatusAddress: "localhost:0",
		Audit:         s.audit,
		MeshServices: &meshservice.Options{
			PodLabel: "service-mesh-enabled", PodLabelValue: "true", StatusPort: statusPort, Interval: time.Second, Dial: s.pods.dial,
			LeftoverPatience: s.leftoverPatience,
		},
		Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	s.statusURL = "http://" + c.StatusAddress().String()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the controller: %v", err)
		}
		log.end()
	})
	t.Cleanup(stop)
	return stop
}

// apply creates a MeshService of a spec, or changes it.
func (s *system) apply(t *testing.T, name, spec string) error {
	t.Helper()
	document := `{"apiVersion":"pillion.dev/v1alpha1","kind":"MeshService","metadata":{"name":"` + name + `","namespace":"` + s.namespace + `"},"spec":` + spec + `}`
	return s.client.Patch(t.Context(), s.document(name), client.RawPatch(types.ApplyPatchType, []byte(document)), client.FieldOwner("owner"), client.ForceOwnership)
}

func (s *system) mustApply(t *testing.T, name, spec string) {
	t.Helper()
	if err := s.apply(t, name, spec); err != nil {
		t.Fatal(err)
	}
}

func (s *system) service(t *testing.T, name string) *v1alpha1.MeshService {
	t.Helper()
	found := &v1alpha1.MeshService{}
	if err := s.client.Get(t.Context(), types.NamespacedName{Namespace: s.namespace, Name: name}, found); err != nil {
		t.Fatal(err)
	}
	return found
}

// condition waits for a condition of the newest document with this status and reason.
func (s *system) condition(t *testing.T, name, kind string, status metav1.ConditionStatus, reason string) metav1.Condition {
	t.Helper()
	return s.conditionThat(t, name, kind, status, reason, func(string) bool { return true })
}

// says waits for it to say this: how many pods there are is found out one by one.
func (s *system) says(t *testing.T, name, kind string, status metav1.ConditionStatus, reason, message string) {
	t.Helper()
	s.conditionThat(t, name, kind, status, reason, func(said string) bool { return said == message })
}

func (s *system) conditionThat(t *testing.T, name, kind string, status metav1.ConditionStatus, reason string, says func(string) bool) metav1.Condition {
	t.Helper()
	var last metav1.Condition
	eventually(t, kind+" of "+name+" is "+string(status)+" "+reason, func() bool {
		found := s.service(t, name)
		if c := meta.FindStatusCondition(found.Status.Conditions, kind); c != nil {
			last = *c
			t.Logf("%s: %s %s: %s", kind, c.Status, c.Reason, c.Message)
			return c.Status == status && c.Reason == reason && c.ObservedGeneration == found.Generation && says(c.Message)
		}
		return false
	})
	return last
}

// configMap is the service's; nil where there is none.
func (s *system) configMap(t *testing.T, service string) *corev1.ConfigMap {
	t.Helper()
	found := &corev1.ConfigMap{}
	err := s.client.Get(t.Context(), types.NamespacedName{Namespace: s.namespace, Name: v1alpha1.MeshConfigMap(service)}, found)
	if apierrors.IsNotFound(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// generation is what a pod reads of a ConfigMap; nil for nothing that it would take.
func generation(c *corev1.ConfigMap) *bootstrap.Generation {
	if c == nil {
		return nil
	}
	file := []byte(c.Data[bootstrap.GenerationFile])
	if packed := c.BinaryData[bootstrap.GenerationFile]; packed != nil {
		file = packed
	}
	g, err := bootstrap.ParseGeneration(file)
	if err != nil {
		return nil
	}
	return g
}

// rendered waits for the ConfigMap of the newest document.
func (s *system) rendered(t *testing.T, service string) *bootstrap.Generation {
	t.Helper()
	var g *bootstrap.Generation
	eventually(t, "the newest document of "+service+" is in its ConfigMap", func() bool {
		g = generation(s.configMap(t, service))
		return g != nil && g.Number == s.service(t, service).Generation
	})
	return g
}

// pods are servers that answer for sidecars, by the address that a pod's status has.
type pods struct {
	mu      sync.Mutex
	servers map[string]string
}

func (p *pods) dial(ctx context.Context, network, address string) (net.Conn, error) {
	p.mu.Lock()
	server := p.servers[address]
	p.mu.Unlock()
	var d net.Dialer
	if server == "" {
		server = "127.0.0.1:1" // where nobody listens
	}
	return d.DialContext(ctx, network, server)
}

// sidecar answers for a pod.
type sidecar struct {
	mu     sync.Mutex
	status lifecycle.MeshStatus
	times  int
}

// asked is how often it was.
func (s *sidecar) asked() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.times
}

func (s *sidecar) say(status lifecycle.MeshStatus) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status = status
}

// ServeHTTP implements http.Handler.
func (s *sidecar) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.times++
	_ = json.NewEncoder(w).Encode(s.status) //nolint:errchkjson // a caller that has gone sees no error either
}

// addPod makes an injected pod that runs, with a sidecar that answers unless it is nil.
func (s *system) addPod(t *testing.T, service, name, ip string, of *sidecar, volumes ...string) {
	t.Helper()
	status, err := json.Marshal(injector.Status{Version: "dev", Config: "c", Plan: "p", Mode: "native", Service: service, Added: volumes})
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: s.namespace, Name: name, Labels: map[string]string{"service-mesh-enabled": "true"},
			Annotations: map[string]string{injector.StatusAnnotation: string(status)},
		},
		Spec: corev1.PodSpec{NodeName: "none", Containers: []corev1.Container{{Name: "app", Image: "app"}}},
	}
	if err := s.client.Create(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	pod.Status = corev1.PodStatus{Phase: corev1.PodRunning, PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}}
	if err := s.client.Status().Update(t.Context(), pod); err != nil {
		t.Fatal(err)
	}
	if of != nil {
		server := httptest.NewServer(of)
		t.Cleanup(server.Close)
		s.pods.mu.Lock()
		s.pods.servers[net.JoinHostPort(ip, "15020")] = server.Listener.Addr().String()
		s.pods.mu.Unlock()
	}
}

// eventually waits until something is so.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 50*time.Millisecond, patience, true, func(context.Context) (bool, error) { return is(), nil })
	if err != nil {
		t.Fatalf("waiting until %s: %v", what, err)
	}
}

// columns are what `kubectl get` prints of a MeshService, by the column's name.
func (s *system) columns(t *testing.T, name string) map[string]any {
	t.Helper()
	config := rest.CopyConfig(world.plane.Config)
	version := v1alpha1.GroupVersion()
	config.APIPath, config.GroupVersion, config.NegotiatedSerializer = "/apis", &version, clientgoscheme.Codecs.WithoutConversion()
	c, err := rest.RESTClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	raw, err := c.Get().Namespace(s.namespace).Resource("meshservices").Name(name).SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(raw, &table); err != nil {
		t.Fatal(err)
	}
	printed := map[string]any{}
	for n, column := range table.ColumnDefinitions {
		printed[column.Name] = table.Rows[0].Cells[n]
	}
	return printed
}
