package auditor

import (
	"context"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/injector"
)

const (
	// pageSize is how many objects are asked for at once. A page of pods has some
	// megabytes.
	pageSize = "200"
	// requestsPerSecond bound what a pass asks of kube-apiserver.
	requestsPerSecond = 20
)

// pods reads pods from kube-apiserver, a page at a time. It decodes what an audit needs
// and nothing else, which a typed client cannot.
type pods struct{ client rest.Interface }

func newPods(config *rest.Config) (*pods, error) {
	config = rest.CopyConfig(config)
	config.APIPath, config.GroupVersion = "/api", &corev1.SchemeGroupVersion
	config.NegotiatedSerializer = scheme.Codecs.WithoutConversion()
	config.QPS, config.Burst = requestsPerSecond, requestsPerSecond
	client, err := rest.RESTClientFor(config)
	if err != nil {
		return nil, fmt.Errorf("preparing the API client: %w", err)
	}
	return &pods{client}, nil
}

// page is a list as kube-apiserver sends it.
type page struct {
	Metadata struct {
		Continue string `json:"continue"`
	} `json:"metadata"`
	Items []jsontext.Value `json:"items"`
}

// pages calls use for each item of a list in turn. List makes its request.
func pages(ctx context.Context, list func() *rest.Request, use func(item []byte) error) error {
	for next := ""; ; {
		raw, err := list().Param("limit", pageSize).Param("continue", next).DoRaw(ctx)
		if err != nil {
			return err
		}
		var page page
		if err := json.Unmarshal(raw, &page); err != nil {
			return fmt.Errorf("decoding the list: %w", err)
		}
		for _, item := range page.Items {
			if err := use(item); err != nil {
				return err
			}
		}
		if next = page.Metadata.Continue; next == "" {
			return nil
		}
	}
}

// namespaces are those that an Injector serves.
func (p *pods) namespaces(ctx context.Context, inject *injector.Injector, optIn v1alpha1.OptIn) ([]injector.Namespace, error) {
	var found []injector.Namespace
	list := func() *rest.Request {
		return p.client.Get().Resource("namespaces").Param("labelSelector", optIn.Label+"="+optIn.Value)
	}
	err := pages(ctx, list, func(item []byte) error {
		var namespace struct {
			Metadata struct {
				Name   string            `json:"name"`
				Labels map[string]string `json:"labels"`
			} `json:"metadata"`
		}
		if err := json.Unmarshal(item, &namespace); err != nil {
			return fmt.Errorf("decoding a namespace: %w", err)
		}
		if ns := (injector.Namespace{Name: namespace.Metadata.Name, Labels: namespace.Metadata.Labels}); inject.Serves(ns) {
			found = append(found, ns)
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing the namespaces with the label %s=%s: %w", optIn.Label, optIn.Value, err)
	}
	return found, nil
}

// seen is what is known of a pod beside what injector.Pod has.
type seen struct {
	Metadata struct {
		Name              string                  `json:"name"`
		UID               types.UID               `json:"uid"`
		DeletionTimestamp string                  `json:"deletionTimestamp"`
		OwnerReferences   []metav1.OwnerReference `json:"ownerReferences"`
	} `json:"metadata"`
	Status struct {
		Conditions []struct {
			Type   corev1.PodConditionType `json:"type"`
			Status corev1.ConditionStatus  `json:"status"`
		} `json:"conditions"`
	} `json:"status"`
}

// ready says whether the pod has the condition Ready.
func (s *seen) ready() bool {
	for _, c := range s.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// controller is what made the pod; the zero value for a bare one.
func (s *seen) controller() metav1.OwnerReference {
	for _, owner := range s.Metadata.OwnerReferences {
		if owner.Controller != nil && *owner.Controller {
			return owner
		}
	}
	return metav1.OwnerReference{}
}

// in goes through the pods of a namespace that opted in and run or are about to.
func (p *pods) in(ctx context.Context, namespace string, optIn v1alpha1.OptIn, use func(*seen, *injector.Pod)) error {
	list := func() *rest.Request {
		return p.client.Get().Namespace(namespace).Resource("pods").
			Param("labelSelector", optIn.Label+"="+optIn.Value).
			Param("fieldSelector", "status.phase!=Succeeded,status.phase!=Failed")
	}
	err := pages(ctx, list, func(item []byte) error {
		var s seen
		if err := json.Unmarshal(item, &s); err != nil {
			return fmt.Errorf("decoding a pod: %w", err)
		}
		pod, err := injector.DecodePod(item)
		if err != nil {
			return err
		}
		if s.Metadata.DeletionTimestamp == "" {
			use(&s, pod)
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("listing the pods of namespace %s: %w", namespace, err)
	}
	return nil
}
