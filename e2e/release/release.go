// Package release installs charts/pillion as far as a machine without nodes can:
// what Helm renders goes into a real kube-apiserver, and the webhook that the
// Deployment describes runs as a process on the loopback, with the Deployment's own
// arguments. The tests and the demo share it, so that neither has a second copy of
// what the chart says.
package release

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	sigsyaml "sigs.k8s.io/yaml"
)

// FieldOwner is the name under which a release's objects are applied.
const FieldOwner = client.FieldOwner("helm")

// Options of a rendering.
type Options struct {
	// Helm is the path of the helm program.
	Helm string
	// Chart is the chart's folder.
	Chart string
	// Name and Namespace of the release.
	Name, Namespace string
	// KubeVersion that the chart is rendered for, as "1.37".
	KubeVersion string
	// Values that differ from the chart's own, as in values.yaml.
	Values map[string]any
}

// Release is what Helm makes of the chart.
type Release struct {
	Options
	// Text is Helm's output, with the chart's comments.
	Text []byte
	// Objects in the order in which Helm installs them.
	Objects []*unstructured.Unstructured
	// Hooks are what Helm installs at times of their own, as for `helm test`.
	Hooks []*unstructured.Unstructured
}

// Render runs `helm template`. An error carries what Helm said.
func Render(ctx context.Context, o Options) (*Release, error) {
	values, err := sigsyaml.Marshal(o.Values)
	if err != nil {
		return nil, fmt.Errorf("writing the values: %w", err)
	}
	home, err := os.MkdirTemp("", "pillion-helm-")
	if err != nil {
		return nil, fmt.Errorf("making a home for Helm: %w", err)
	}
	defer os.RemoveAll(home)
	command := exec.CommandContext(ctx, o.Helm, "template", o.Name, o.Chart, "--namespace", o.Namespace, "--kube-version", o.KubeVersion, "--values", "-")
	// Nothing of the user's own Helm or cluster has a say.
	command.Env = []string{"HOME=" + home, "PATH=" + os.Getenv("PATH")}
	command.Stdin = bytes.NewReader(values)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	text, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("rendering the chart with %s: %w\n%s", o.Helm, err, stderr.Bytes())
	}
	r := &Release{Options: o, Text: text}
	return r, r.decode()
}

// decode reads the objects in the text.
func (r *Release) decode() error {
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(r.Text), 4096)
	for {
		object := &unstructured.Unstructured{}
		err := decoder.Decode(object)
		_, hook := object.GetAnnotations()["helm.sh/hook"]
		switch {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return fmt.Errorf("reading what Helm rendered: %w", err)
		case hook:
			r.Hooks = append(r.Hooks, object)
		case len(object.Object) > 0:
			r.Objects = append(r.Objects, object)
		}
	}
}

// Object is the webhook's of that kind, nil where there is none.
func (r *Release) Object(kind string) *unstructured.Unstructured { return r.Of("webhook", kind) }

// Of is the object of that kind that belongs to a component, nil where there is none.
func (r *Release) Of(component, kind string) *unstructured.Unstructured {
	for _, object := range r.Objects {
		if object.GetKind() == kind && object.GetLabels()["app.kubernetes.io/component"] == component {
			return object
		}
	}
	return nil
}

// Install applies the objects on the server side, as Helm 4 does. The namespace
// must exist. The Service is changed on the way: nothing routes its address here,
// so its name leads to the loopback, where StartWebhook listens on its port.
func (r *Release) Install(ctx context.Context, c client.Client, options ...client.ApplyOption) error {
	for _, object := range r.Objects {
		object := object.DeepCopy()
		if object.GetKind() == "Service" {
			object.Object["spec"] = map[string]any{"type": "ExternalName", "externalName": "localhost"}
		}
		options := append([]client.ApplyOption{FieldOwner}, options...)
		if err := c.Apply(ctx, client.ApplyConfigurationFromUnstructured(object), options...); err != nil {
			return fmt.Errorf("applying %s %s: %w", object.GetKind(), object.GetName(), err)
		}
	}
	return nil
}

// TrustCA writes the caBundle of the release's webhook configurations, as a hand
// other than Helm's.
func (r *Release) TrustCA(ctx context.Context, c client.Client, bundle []byte) error {
	var mutating admissionv1.MutatingWebhookConfiguration
	if err := r.patch(ctx, c, "MutatingWebhookConfiguration", &mutating, func() {
		for i := range mutating.Webhooks {
			mutating.Webhooks[i].ClientConfig.CABundle = bundle
		}
	}); err != nil {
		return err
	}
	var validating admissionv1.ValidatingWebhookConfiguration
	return r.patch(ctx, c, "ValidatingWebhookConfiguration", &validating, func() {
		for i := range validating.Webhooks {
			validating.Webhooks[i].ClientConfig.CABundle = bundle
		}
	})
}

// patch changes the release's object of a kind, as the hand that has certificates.
func (r *Release) patch(ctx context.Context, c client.Client, kind string, object client.Object, change func()) error {
	if err := c.Get(ctx, client.ObjectKeyFromObject(r.Object(kind)), object); err != nil {
		return fmt.Errorf("reading the %s: %w", kind, err)
	}
	before := object.DeepCopyObject().(client.Object)
	change()
	if err := c.Patch(ctx, object, client.StrategicMergeFrom(before), client.FieldOwner("certificates")); err != nil {
		return fmt.Errorf("writing the caBundle of the %s: %w", kind, err)
	}
	return nil
}
