// MeshService is an object of the API server's, which InjectorConfig is not: the
// markers below are for the generator of what such an object has to have.
//
// +kubebuilder:object:generate=true
// +groupName=pillion.dev

package v1alpha1

//go:generate go tool -modfile=../../hack/tools/go.mod controller-gen object crd paths=. output:crd:dir=../../charts/pillion/files/crds

import (
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// GroupVersion is APIVersion as clients and schemes take it.
func GroupVersion() schema.GroupVersion {
	return schema.GroupVersion{Group: Group, Version: strings.TrimPrefix(APIVersion, Group+"/")}
}

// AddToScheme adds the objects of this package that an API server keeps.
func AddToScheme(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(GroupVersion(), &MeshService{}, &MeshServiceList{})
	metav1.AddToGroupVersion(scheme, GroupVersion())
	return nil
}
