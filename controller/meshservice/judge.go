package meshservice

import (
	"encoding/json"
	"errors"
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/envoy"
	"github.com/pillion-mesh/pillion/mesh"
)

// verdict is what is to become of one document.
type verdict struct {
	// problems with the document; nil for a valid one.
	problems error
	// warnings about a valid one.
	warnings []string
	// failed says why nothing was made of a valid one, with a reason for the condition.
	failed error
	reason string
	// version of the generation, and file as the ConfigMap carries it; empty where there is
	// none. bytes is what pods unpack.
	version string
	file    []byte
	bytes   int
}

// judge is a function of the document alone. It takes it as the API server has it: a typed
// client would fail on one value that cannot be read, for this and for every other document.
func judge(document *unstructured.Unstructured) verdict {
	raw, err := json.Marshal(document.Object)
	if err != nil {
		return verdict{problems: fmt.Errorf("reading the document: %w", err)}
	}
	decoded, err := v1alpha1.DecodeMeshService(raw)
	if err != nil {
		return verdict{problems: err}
	}
	v := verdict{warnings: v1alpha1.WarnMeshService(decoded)}
	generation, file, err := render(decoded)
	if err != nil {
		v.failed, v.reason = err, reasonRenderFailed
		return v
	}
	packed, err := bootstrap.Pack(file)
	tooLarge := (*bootstrap.TooLargeError)(nil)
	switch {
	case errors.As(err, &tooLarge):
		v.failed, v.reason = fmt.Errorf("what it was rendered to has %w: there are %d destinations and %d inbound ports, of which some have to go",
			err, len(decoded.Spec.Egress), len(decoded.Spec.Inbound)), reasonTooLarge
	case err != nil:
		v.failed, v.reason = err, reasonRenderFailed
	default:
		v.version, v.file, v.bytes = generation.Version, packed, len(file)
	}
	return v
}

// render makes a generation, sealed.
func render(document *v1alpha1.MeshService) (*bootstrap.Generation, []byte, error) {
	service, err := mesh.Resolve(document)
	if err != nil {
		return nil, nil, err
	}
	generation, err := envoy.Render(service)
	if err != nil {
		return nil, nil, err
	}
	file, err := generation.Seal()
	if err != nil {
		return nil, nil, err
	}
	return generation, file, nil
}
