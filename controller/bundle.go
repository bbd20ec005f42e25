package controller

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"time"

	"golang.org/x/time/rate"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/controller/certificates"
)

const (
	// A caBundle that somebody else changes is written again at once, but not
	// forever: writesAtOnce of them, and then one every writeInterval. A tool that
	// applies its own caBundle whenever ours appears would otherwise go in circles
	// with us, many times a second.
	writesAtOnce  = 5
	writeInterval = 30 * time.Second
)

// webhookKind is one of the two kinds of webhook configurations.
type webhookKind interface {
	// String is the kind's name.
	String() string
	// empty is an object to read one into.
	empty() client.Object
	// clients are the clientConfigs of its entries.
	clients(client.Object) []*admissionv1.WebhookClientConfig
}

type mutating struct{}

func (mutating) String() string       { return "MutatingWebhookConfiguration" }
func (mutating) empty() client.Object { return &admissionv1.MutatingWebhookConfiguration{} }
func (mutating) clients(object client.Object) []*admissionv1.WebhookClientConfig {
	var all []*admissionv1.WebhookClientConfig
	entries := object.(*admissionv1.MutatingWebhookConfiguration).Webhooks
	for n := range entries {
		all = append(all, &entries[n].ClientConfig)
	}
	return all
}

type validating struct{}

func (validating) String() string       { return "ValidatingWebhookConfiguration" }
func (validating) empty() client.Object { return &admissionv1.ValidatingWebhookConfiguration{} }
func (validating) clients(object client.Object) []*admissionv1.WebhookClientConfig {
	var all []*admissionv1.WebhookClientConfig
	entries := object.(*admissionv1.ValidatingWebhookConfiguration).Webhooks
	for n := range entries {
		all = append(all, &entries[n].ClientConfig)
	}
	return all
}

// bundleKeeper remembers how often the caBundle of one configuration was written.
type bundleKeeper struct {
	kind   webhookKind
	writes *rate.Limiter
	// contested says that somebody else keeps changing it, and was said.
	contested bool
}

func newBundleKeeper(kind webhookKind) *bundleKeeper {
	return &bundleKeeper{kind: kind, writes: rate.NewLimiter(rate.Every(writeInterval), writesAtOnce)}
}

// keepBundle writes the caBundle of our entries in a webhook configuration, where
// it is not what it should be. Making the configuration is the chart's affair.
func (c *Controller) keepBundle(ctx context.Context, keeper *bundleKeeper, secret *corev1.Secret) error {
	configuration := keeper.kind.empty()
	key := client.ObjectKey{Name: c.options.WebhookConfiguration}
	if err := c.client.Get(ctx, key, configuration); apierrors.IsNotFound(err) {
		return nil
	} else if err != nil {
		return fmt.Errorf("reading %s %s: %w", keeper.kind, key.Name, err)
	}
	before := configuration.DeepCopyObject().(client.Object)
	changed, err := c.setBundles(keeper.kind.clients(configuration), secret)
	if err != nil {
		return fmt.Errorf("for the caBundle of %s %s: %w", keeper.kind, key.Name, err)
	}
	now := c.options.Now()
	if !changed {
		if keeper.contested && keeper.writes.TokensAt(now) >= writesAtOnce-1 {
			keeper.contested = false
			c.options.Log.Info("the caBundle has been left alone for a while", "kind", keeper.kind.String(), "name", key.Name)
		}
		c.metrics.setContested(keeper)
		return nil
	}
	if !keeper.writes.AllowN(now, 1) {
		c.contest(keeper, before, secret)
		return nil
	}
	// Entries are told apart by their names, and what is newer than our types stays.
	patch := client.StrategicMergeFrom(before, client.MergeFromWithOptimisticLock{})
	if err := c.client.Patch(ctx, configuration, patch); apierrors.IsConflict(err) {
		return nil // the watch brings the newer one
	} else if err != nil {
		return fmt.Errorf("writing the caBundle of %s %s: %w", keeper.kind, key.Name, err)
	}
	c.metrics.writes.WithLabelValues(keeper.kind.String()).Inc()
	c.options.Log.Info("caBundle written", "kind", keeper.kind.String(), "name", key.Name)
	return nil
}

// setBundles sets the caBundle of the entries that call our Service.
func (c *Controller) setBundles(entries []*admissionv1.WebhookClientConfig, secret *corev1.Secret) (changed bool, err error) {
	for _, entry := range entries {
		if s := entry.Service; s == nil || s.Name != c.options.Service || s.Namespace != c.options.Namespace {
			continue
		}
		bundle, err := c.options.Policy.Bundle(c.options.Now(), secret.Data[certificates.CABundleKey], entry.CABundle)
		if err != nil {
			return false, err
		}
		if !bytes.Equal(bundle, entry.CABundle) {
			entry.CABundle, changed = bundle, true
		}
	}
	return changed, nil
}

// contest says, once, that somebody else keeps changing a caBundle.
func (c *Controller) contest(keeper *bundleKeeper, configuration client.Object, secret *corev1.Secret) {
	if !keeper.contested {
		keeper.contested = true
		other := otherManager(configuration)
		c.options.Log.Error("another hand keeps changing the caBundle; it is written every half a minute only, and in between kube-apiserver may not trust the webhook: make that hand leave webhooks[].clientConfig.caBundle alone",
			"kind", keeper.kind.String(), "name", configuration.GetName(), "fieldManager", other)
		c.events.Eventf(secret, nil, corev1.EventTypeWarning, "CABundleContested", "WriteCABundle",
			"field manager %q keeps changing the caBundle of %s %s; make it leave webhooks[].clientConfig.caBundle alone", other, keeper.kind, configuration.GetName())
	}
	c.metrics.setContested(keeper)
}

// otherManager is the field manager other than us that wrote a caBundle last. One
// that only takes it away leaves no trace.
func otherManager(configuration client.Object) string {
	var last metav1.ManagedFieldsEntry
	for _, entry := range configuration.GetManagedFields() {
		if entry.Manager == name || entry.FieldsV1 == nil || !strings.Contains(entry.FieldsV1.GetRawString(), `"f:caBundle"`) {
			continue
		}
		if last.Time == nil || entry.Time != nil && last.Time.Before(entry.Time) {
			last = entry
		}
	}
	if last.Manager == "" {
		return "unknown"
	}
	return last.Manager
}
