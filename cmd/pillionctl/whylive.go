package main

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/manifest"
)

// clusterAccount is what the cluster says about a pod or about the pods of a workload.
type clusterAccount struct {
	Release  string `json:"release"`
	Revision string `json:"revision"`
	// Selected are the webhook entries whose selectors take the pods.
	Selected []string `json:"selected"`
	// Now is what kube-apiserver makes of such a pod now.
	Now string `json:"now"`
	// State of a pod that exists, as `status` counts it, with a sentence.
	State   string `json:"state,omitempty"`
	Message string `json:"message,omitempty"`
	// Sidecar is who made a pod's sidecar: version, configuration, mode.
	Sidecar string `json:"sidecar,omitempty"`
	// Evidence says why a pod may have been missed.
	Evidence []string `json:"evidence,omitempty"`
}

// rows are for people.
func (a *clusterAccount) rows() [][]string {
	selected := strings.Join(a.Selected, ", ")
	if selected == "" {
		selected = "none: kube-apiserver does not ask about such a pod"
	}
	rows := [][]string{{"release", strings.TrimSuffix(a.Release+", revision "+a.Revision, ", revision ")}, {"selected by", selected}, {"created now", a.Now}}
	if a.State != "" {
		rows = append(rows, []string{"state", a.State + ": " + a.Message})
	}
	if a.Sidecar != "" {
		rows = append(rows, []string{"sidecar", a.Sidecar})
	}
	for _, e := range a.Evidence {
		rows = append(rows, []string{"evidence", e})
	}
	return rows
}

// whyLive is why about an object of a cluster.
func (p *program) whyLive(ctx context.Context, in *cluster, ref, format string) error {
	c, err := in.connect()
	if err != nil {
		return err
	}
	object, err := c.object(ctx, ref)
	if err != nil {
		return err
	}
	where, err := c.place(ctx, p)
	if err != nil {
		return err
	}
	j, err := p.judgeLive(object, where)
	if err != nil {
		return err
	}
	a := explain(j)
	a.Cluster = c.tell(ctx, object, j, where)
	return p.writeAccounts([]account{a}, format)
}

// judgeLive takes an object for its manifest.
func (p *program) judgeLive(object client.Object, where *place) (*judged, error) {
	raw, err := json.Marshal(object)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", object.GetName(), err)
	}
	stream, err := manifest.Read("cluster", raw)
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", object.GetName(), err)
	}
	l := &loaded{injector: where.release.Injector, streams: []*manifest.Stream{stream}, labels: map[string]map[string]string{where.namespace.Name: known(where.namespace.Labels)}}
	pods, err := p.judge(l, &input{namespace: where.namespace.Name})
	if err != nil {
		return nil, err
	}
	if len(pods) != 1 {
		return nil, fmt.Errorf("%s has %d pod templates", object.GetName(), len(pods))
	}
	return &pods[0], nil
}

// tell asks the cluster.
func (c *connection) tell(ctx context.Context, object client.Object, j *judged, where *place) *clusterAccount {
	f, r := where.facts, where.release
	a := &clusterAccount{
		Release: r.Namespace + "/" + r.Name, Revision: r.Revision(),
		Selected: f.Selecting(r, where.namespace, j.pod.Metadata.Labels),
		Now:      c.createdNow(ctx, object, where).text,
	}
	if f.Mutating.Err != nil {
		a.Selected = []string{fmt.Sprintf("not known: %v", f.Mutating.Err)}
	}
	pod, isPod := object.(*corev1.Pod)
	if !isPod {
		return a
	}
	making, _ := c.making(ctx, f, r)
	audit := r.Injector.AuditBy(injector.Request{Pod: j.pod, Namespace: j.namespace}, making)
	a.State, a.Message = string(audit.State), audit.Message
	if s := audit.Status; s != nil {
		a.Sidecar = fmt.Sprintf("version %s, configuration %s, %s", s.Version, s.Config, s.Mode)
	}
	if audit.State == injector.Missed {
		a.Evidence = f.WhyMissed(r, where.namespace, pod)
	}
	return a
}

// attempt is what becomes of a pod like those of a workload that is created as a dry run.
type attempt struct {
	// text is a predicate, as "comes back with a sidecar of version ...".
	text string
	// refused: kube-apiserver does not take it; bare: it takes it without a sidecar that
	// works. Neither holds where none was tried.
	refused, bare bool
}

// createdNow creates a pod like those of the object, as a dry run.
func (c *connection) createdNow(ctx context.Context, object client.Object, where *place) attempt {
	template, why := c.template(ctx, object)
	if template == nil {
		return attempt{text: "not tried: " + why}
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		GenerateName: "pillionctl-why-", Namespace: object.GetNamespace(), Labels: template.Labels, Annotations: template.Annotations,
	}, Spec: template.Spec}
	if err := c.Create(ctx, pod, client.DryRunAll); err != nil {
		if apierrors.IsForbidden(err) && !c.mayCreatePods(ctx, pod.Namespace) {
			return attempt{text: fmt.Sprintf("not tried, for want of the right to create pods: %v", err)}
		}
		return attempt{text: fmt.Sprintf("refused: %v", err), refused: true}
	}
	audit, err := where.release.Audit(pod, injector.Namespace{Name: pod.Namespace, Labels: known(where.namespace.Labels)})
	if err != nil {
		return attempt{text: fmt.Sprintf("not understood: %v", err), bare: true}
	}
	switch s := audit.Status; audit.State {
	case injector.Injected, injector.Outdated:
		return attempt{text: fmt.Sprintf("comes back with a sidecar of version %s, configuration %s, %s", s.Version, s.Config, s.Mode)}
	case injector.Damaged:
		return attempt{text: "comes back with a sidecar that cannot work: " + audit.Message, bare: true}
	case injector.Missed:
		return attempt{text: "comes back without a sidecar, though it opted in: `pillionctl check` tells why", bare: true}
	default:
		return attempt{text: "comes back without a sidecar: " + audit.Message, bare: true}
	}
}

// mayCreatePods asks kube-apiserver, which answers both a missing right and a pod that
// is not taken with the same status.
func (c *connection) mayCreatePods(ctx context.Context, namespace string) bool {
	review := &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{
		ResourceAttributes: &authorizationv1.ResourceAttributes{Namespace: namespace, Verb: "create", Resource: "pods"},
	}}
	return c.Create(ctx, review) != nil || review.Status.Allowed
}

// template is what the pods of an object are made of: of a pod, its controller's.
func (c *connection) template(ctx context.Context, object client.Object) (*corev1.PodTemplateSpec, string) {
	if pod, isPod := object.(*corev1.Pod); isPod {
		owner := metav1.GetControllerOf(pod)
		if owner == nil {
			return nil, "the pod is nobody's, and what it was made of is not known"
		}
		kind, err := findKind(owner.Kind)
		if err != nil {
			return nil, fmt.Sprintf("the pod is the %s's %s, a kind that is not known here", owner.Kind, owner.Name)
		}
		if object, err = c.get(ctx, kind, owner.Name); err != nil {
			return nil, err.Error()
		}
	}
	w := workloadIn(object)
	if w == nil {
		return nil, "it has ended"
	}
	return &w.Template, ""
}
