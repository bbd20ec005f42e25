package main

import (
	"context"
	"strings"

	appsv1 "k8s.io/api/apps/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/pillion-mesh/pillion/injector"
	"github.com/pillion-mesh/pillion/preflight"
)

// making is who makes new sidecars in a release's namespaces. The webhook says it in the
// status annotation of a pod that is created as a dry run. In the middle of an upgrade two
// versions answer; the release's own is then the one that its image is tagged with. Where
// no pod can be tried it is taken to be this program's version, and known is false.
func (c *connection) making(ctx context.Context, f *preflight.Facts, r *preflight.Installed) (making injector.Making, known bool) {
	const tries = 3
	tag := c.imageTag(ctx, r)
	if tag == injector.Version {
		return r.Injector.Making(), true
	}
	making = r.Injector.Making()
	for range tries {
		for _, t := range c.trials(ctx, f, r) {
			if t.Pod == nil {
				continue
			}
			status, err := injector.ParseStatus(t.Pod.Annotations[injector.StatusAnnotation])
			if err != nil {
				continue
			}
			making, known = injector.Making{Version: status.Version, Config: status.Config}, true
			if tag == "" || status.Version == tag {
				return making, known
			}
		}
		if !known {
			break
		}
	}
	return making, known
}

// imageTag is the tag of the image that the webhook's Deployment runs; empty where it
// may not be seen, or is pinned by a digest.
func (c *connection) imageTag(ctx context.Context, r *preflight.Installed) string {
	var d appsv1.Deployment
	if err := c.Get(ctx, client.ObjectKey{Namespace: r.Namespace, Name: r.Name}, &d); err != nil || len(d.Spec.Template.Spec.Containers) == 0 {
		return ""
	}
	image := d.Spec.Template.Spec.Containers[0].Image
	name := image[strings.LastIndex(image, "/")+1:]
	if strings.Contains(name, "@") {
		return ""
	}
	_, tag, _ := strings.Cut(name, ":")
	return tag
}
