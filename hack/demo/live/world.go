package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/e2e/controlplane"
	"github.com/pillion-mesh/pillion/e2e/release"
	"github.com/pillion-mesh/pillion/injector"
)

// world is everything that the demo starts.
type world struct {
	program  string // the webhook's
	keep     string // the file for the pod as it was stored
	folder   string // for what the programs read and write
	plane    *controlplane.ControlPlane
	release  *release.Release
	webhook  *release.Webhook
	client   client.Client
	warnings warnings
}

// startControlPlane starts etcd and kube-apiserver.
func (w *world) startControlPlane(ctx context.Context) error {
	var err error
	if w.plane, err = controlplane.Start(ctx); err != nil {
		return err
	}
	config := rest.CopyConfig(w.plane.Config)
	config.WarningHandler = &w.warnings
	if w.client, err = client.New(config, client.Options{}); err != nil {
		return fmt.Errorf("making a client: %w", err)
	}
	return nil
}

// install renders the chart, starts the webhook as its Deployment says, and applies
// its objects.
func (w *world) install(ctx context.Context) error {
	log, err := w.prepareFolder()
	if err != nil {
		return err
	}
	defer log.Close()
	programs, err := controlplane.Find(ctx)
	if err != nil {
		return err
	}
	webhook, err := release.Ports()
	if err != nil {
		return err
	}
	// Nobody else is being served when the demo ends.
	webhook["shutdownDelaySeconds"] = 0
	w.release, err = release.Render(ctx, release.Options{
		Helm: programs.Helm, Chart: "charts/pillion", Name: "pillion", Namespace: "pillion",
		KubeVersion: "1.37", Values: map[string]any{"webhook": webhook},
	})
	if err != nil {
		return err
	}
	if w.webhook, err = w.release.StartWebhook(ctx, w.program, w.folder, log); err != nil {
		return err
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: w.release.Namespace}}
	if err := w.client.Create(ctx, namespace); err != nil {
		return fmt.Errorf("creating the namespace of the release: %w", err)
	}
	if err := w.release.Install(ctx, w.client); err != nil {
		return err
	}
	return w.release.TrustCA(ctx, w.client, w.webhook.CA)
}

// prepareFolder makes a folder for the webhook's files, and its log in it.
func (w *world) prepareFolder() (*os.File, error) {
	var err error
	if w.folder, err = os.MkdirTemp("", "pillion-demo-"); err != nil {
		return nil, fmt.Errorf("making a folder for the webhook: %w", err)
	}
	log, err := os.Create(w.logFile())
	if err != nil {
		return nil, fmt.Errorf("making the webhook's log: %w", err)
	}
	return log, nil
}

func (w *world) logFile() string { return filepath.Join(w.folder, "webhook.log") }

// lastWords is the end of the webhook's log; empty where there is none.
func (w *world) lastWords() []byte {
	const enough = 2000
	text, err := os.ReadFile(w.logFile())
	if err != nil {
		return nil
	}
	return text[max(0, len(text)-enough):]
}

// stop ends what was started, the last first.
func (w *world) stop() error {
	var problems []error
	if w.webhook != nil {
		problems = append(problems, w.webhook.Stop())
	}
	if w.plane != nil {
		problems = append(problems, w.plane.Stop())
	}
	return errors.Join(append(problems, os.RemoveAll(w.folder))...)
}

// warnings keeps what the API server warns of.
type warnings struct {
	mu   sync.Mutex
	text []string
}

var _ rest.WarningHandler = &warnings{}

// HandleWarningHeader is called by the client for each warning of a response.
func (w *warnings) HandleWarningHeader(_ int, _, text string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.text = append(w.text, text)
}

// take returns the warnings since the last time.
func (w *warnings) take() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	text := w.text
	w.text = nil
	return text
}

// awaitWebhook waits until kube-apiserver asks the webhook about such a pod. It
// learns of the webhook from a watch, some moments after that was configured.
func (w *world) awaitWebhook(ctx context.Context, pod *unstructured.Unstructured) error {
	ctx, cancel := context.WithTimeoutCause(ctx, time.Minute, errors.New("kube-apiserver did not ask the webhook within a minute"))
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		stored, _, err := w.create(ctx, pod, client.DryRunAll)
		if err != nil {
			return err
		}
		if stored.GetAnnotations()[injector.StatusAnnotation] != "" {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-tick.C:
		}
	}
}
