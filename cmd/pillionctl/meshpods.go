package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strconv"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/lifecycle"
	"github.com/pillion-mesh/pillion/preflight"
)

const (
	// maxPods bounds how many pods are asked, podsAtOnce how many at the same time, and
	// podTimeout how long one may take.
	maxPods    = 200
	podsAtOnce = 8
	podTimeout = 5 * time.Second
)

// podLine is what a pod says that it runs; its JSON is in the output of -o json.
type podLine struct {
	Namespace string `json:"namespace"`
	Pod       string `json:"pod"`
	// MeshService that the pod belongs to.
	MeshService string `json:"meshService"`
	// State is Passthrough, Applying, Applied or Rejected; Unknown where the pod did not say.
	State string `json:"state"`
	// Running and Wanted are versions; empty for the passthrough.
	Running string `json:"running,omitempty"`
	Wanted  string `json:"wanted,omitempty"`
	// Why says what is waited for, why it was rejected, or why the pod did not say.
	Why string `json:"why,omitempty"`

	port int32
}

// meshPods are the running pods of MeshServices, up to maxPods, and how many more there are.
func (c *connection) meshPods(ctx context.Context, f *preflight.Facts, services []meshLine) (lines []podLine, more int, err error) {
	lines = []podLine{}
	names := map[string]map[string]bool{} // by namespace
	for n := range services {
		of := services[n].Namespace
		if names[of] == nil {
			names[of] = map[string]bool{}
		}
		names[of][services[n].Name] = true
	}
	for n := range f.Namespaces.Value {
		namespace := &f.Namespaces.Value[n]
		release := f.ReleaseFor(namespace)
		if release == nil || names[namespace.Name] == nil {
			continue
		}
		err := c.eachPod(ctx, namespace.Name, func(pod *corev1.Pod) error {
			service := injectedFor(pod)
			if !names[namespace.Name][service] || pod.Status.Phase != corev1.PodRunning || pod.DeletionTimestamp != nil {
				return nil
			}
			if len(lines) == maxPods {
				more++
				return nil
			}
			lines = append(lines, podLine{Namespace: pod.Namespace, Pod: pod.Name, MeshService: service, port: release.Config.Ports.Status})
			return nil
		})
		if err != nil {
			return nil, 0, err
		}
	}
	return lines, more, nil
}

// eachPod goes through a namespace's pods page by page.
func (c *connection) eachPod(ctx context.Context, namespace string, do func(*corev1.Pod) error) error {
	const page = 500
	for next := ""; ; {
		var pods corev1.PodList
		if err := c.List(ctx, &pods, client.InNamespace(namespace), client.Limit(page), client.Continue(next)); err != nil {
			return fmt.Errorf("listing the Pods of namespace %s: %w", namespace, err)
		}
		for n := range pods.Items {
			if err := do(&pods.Items[n]); err != nil {
				return err
			}
		}
		if next = pods.Continue; next == "" {
			return nil
		}
	}
}

// askPods has each line say what its pod says.
func (c *connection) askPods(ctx context.Context, lines []podLine) error {
	config := rest.CopyConfig(c.config)
	config.APIPath, config.GroupVersion = "/api", &corev1.SchemeGroupVersion
	scheme := runtime.NewScheme() // for what the API server says where it refuses
	metav1.AddToGroupVersion(scheme, corev1.SchemeGroupVersion)
	config.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	api, err := rest.RESTClientFor(config)
	if err != nil {
		return fmt.Errorf("preparing the API client for %s: %w", config.Host, err)
	}
	next := make(chan *podLine)
	var askers sync.WaitGroup
	for range min(podsAtOnce, len(lines)) {
		askers.Go(func() {
			for line := range next {
				line.ask(ctx, api)
			}
		})
	}
	for n := range lines {
		next <- &lines[n]
	}
	close(next)
	askers.Wait()
	return nil
}

// ask asks the pod by the API server, which is where the user's rights are.
func (l *podLine) ask(ctx context.Context, api rest.Interface) {
	ctx, cancel := context.WithTimeout(ctx, podTimeout)
	defer cancel()
	status, err := podStatus(ctx, api, l)
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		l.State, l.Why = "Unknown", "it did not answer in "+podTimeout.String()
		return
	case err != nil:
		l.State, l.Why = "Unknown", err.Error()
		return
	}
	l.State, l.Why = string(status.State), status.Reason
	if status.Running != nil {
		l.Running = status.Running.Version
	}
	if status.Wanted != nil {
		l.Wanted = status.Wanted.Version
	}
}

func podStatus(ctx context.Context, api rest.Interface, l *podLine) (*lifecycle.MeshStatus, error) {
	target := l.Pod + ":" + strconv.Itoa(int(l.port))
	answer, err := api.Get().Namespace(l.Namespace).Resource("pods").Name(target).SubResource("proxy").Suffix(lifecycle.MeshStatusPath).Stream(ctx)
	if err != nil {
		return nil, fmt.Errorf("asking it by the API server (it needs the right to get pods/proxy): %w", err)
	}
	defer answer.Close()
	data, err := io.ReadAll(io.LimitReader(answer, lifecycle.MaxMeshStatus+1))
	if err != nil {
		return nil, fmt.Errorf("reading the answer: %w", err)
	}
	return lifecycle.ParseMeshStatus(data)
}

// printPods says of each pod what it runs.
func (p *program) printPods(lines []podLine) error {
	if len(lines) == 0 {
		return nil
	}
	rows := [][]string{{"NAMESPACE", "POD", "MESHSERVICE", "STATE", "RUNNING", "WANTED", "WHY"}}
	for n := range lines {
		l := &lines[n]
		rows = append(rows, []string{l.Namespace, l.Pod, l.MeshService, l.State, orNone(l.Running), orNone(l.Wanted), l.Why})
	}
	if _, err := fmt.Fprintln(p.out); err != nil {
		return err
	}
	return writeTable(p.out, "", rows)
}

func orNone(version string) string {
	if version == "" {
		return "-"
	}
	return version
}

// injectedFor is the service that a pod was injected for; "" where it has no sidecar.
func injectedFor(pod *corev1.Pod) string {
	status, err := injector.ParseStatus(pod.Annotations[injector.StatusAnnotation])
	if err != nil {
		return ""
	}
	return status.Service
}
