package controller

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/controller/certificates"
)

// keepSecret stores the certificates that there should be and returns the Secret
// as it is then, with the time at which it will have to change. It returns nil where
// another controller stored something in between.
func (c *Controller) keepSecret(ctx context.Context) (*corev1.Secret, time.Time, error) {
	secret := &corev1.Secret{}
	key := client.ObjectKey{Namespace: c.options.Namespace, Name: c.options.Secret}
	err := c.client.Get(ctx, key, secret)
	missing := apierrors.IsNotFound(err)
	if err != nil && !missing {
		return nil, time.Time{}, fmt.Errorf("reading Secret %s: %w", key, err)
	}
	outcome, err := c.options.Policy.Renew(c.options.Now(), secret.Data)
	if err != nil {
		return nil, time.Time{}, fmt.Errorf("for Secret %s: %w", key, err)
	}
	if missing || outcome.Changed(secret.Data) {
		secret = secret.DeepCopy()
		secret.Data = outcome.Data
		if missing {
			secret.ObjectMeta = metav1.ObjectMeta{Namespace: key.Namespace, Name: key.Name}
			err = c.client.Create(ctx, secret)
		} else {
			err = c.client.Update(ctx, secret)
		}
		switch {
		case apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err):
			c.options.Log.Debug("the Secret was changed by somebody else in between; looking again", "secret", key)
			return nil, time.Time{}, nil
		case err != nil:
			return nil, time.Time{}, fmt.Errorf("storing the certificates in Secret %s: %w", key, err)
		}
	}
	c.report(secret, outcome)
	return secret, outcome.Next, nil
}

// report says what was made, to whoever looks at the log, the Events or the
// metrics.
func (c *Controller) report(secret *corev1.Secret, outcome *certificates.Outcome) {
	for _, made := range outcome.Made {
		expiry := outcome.ServingExpiry
		if made.Kind == certificates.CA {
			expiry = outcome.CAExpiry
		}
		c.metrics.issued.WithLabelValues(string(made.Kind), string(made.Reason)).Inc()
		c.options.Log.Info("certificate made", "kind", made.Kind, "reason", made.Reason, "detail", made.Detail,
			"host", c.options.Policy.Host, "secret", c.options.Secret, "expires", expiry)
		note := fmt.Sprintf("made a new %s certificate for %s, valid until %s; reason: %s", made.Kind, c.options.Policy.Host, expiry.UTC().Format(time.RFC3339), made.Reason)
		if made.Detail != "" {
			note += " (" + made.Detail + ")"
		}
		kind := corev1.EventTypeWarning
		if made.Reason == certificates.Expiring || made.Reason == certificates.Missing || made.Reason == certificates.Issuer {
			kind = corev1.EventTypeNormal
		}
		c.events.Eventf(secret, nil, kind, "CertificateMade", "Renew", "%s", note)
	}
	c.metrics.expiry.WithLabelValues(string(certificates.CA)).Set(float64(outcome.CAExpiry.Unix()))
	c.metrics.expiry.WithLabelValues(string(certificates.Serving)).Set(float64(outcome.ServingExpiry.Unix()))
}
