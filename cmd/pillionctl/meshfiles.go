package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/pillion-mesh/pillion/api/v1alpha1"
	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/envoy"
	"github.com/pillion-mesh/pillion/lifecycle"
	"github.com/pillion-mesh/pillion/manifest"
	"github.com/pillion-mesh/pillion/mesh"
)

// meshInput is what the commands about MeshServices are given.
type meshInput struct {
	files     []string
	namespace string
}

func (i *meshInput) addFlags(cmd *cobra.Command) {
	cmd.Flags().StringArrayVarP(&i.files, "filename", "f", nil, "`file` or folder with MeshServices, among other manifests or not; - for standard input; may be given many times")
	i.addNamespace(cmd)
}

func (i *meshInput) addNamespace(cmd *cobra.Command) {
	cmd.Flags().StringVarP(&i.namespace, "namespace", "n", "default", "`namespace` of documents that do not name one")
}

// meshDocument is a MeshService in a file, valid or not.
type meshDocument struct {
	object *manifest.Object
	// problems are why there is no service.
	problems v1alpha1.Problems
	document *v1alpha1.MeshService
	service  *mesh.Service
}

// title names it and where it is.
func (d *meshDocument) title() string { return d.object.Place() + ": " + d.object.String() }

// meshFiles are files, read.
type meshFiles struct {
	documents []*meshDocument
	// services are the Kubernetes Services beside them.
	services []kubernetesService
}

// kubernetesService has what a destination refers to.
type kubernetesService struct {
	name, namespace string
	ports           []int32
}

// loadMesh reads all files before anything is done with one of them.
func (p *program) loadMesh(files []string, namespace string) (*meshFiles, error) {
	if len(files) == 0 {
		return nil, errors.New("no MeshServices: give a file or folder with -f FILE, or - for standard input")
	}
	names, err := manifestFiles(files)
	if err != nil {
		return nil, err
	}
	loaded := &meshFiles{}
	for _, file := range names {
		name, data, err := p.read(file)
		if err != nil {
			return nil, err
		}
		stream, err := manifest.Read(name, data)
		if err != nil {
			return nil, findings{err}
		}
		for _, document := range stream.Documents() {
			if err := loaded.add(document, namespace); err != nil {
				return nil, findings{fmt.Errorf("%s: %w", name, err)}
			}
		}
	}
	if len(loaded.documents) == 0 {
		return nil, fmt.Errorf("there is no MeshService in %s", strings.Join(files, ", "))
	}
	return loaded, nil
}

// manifestFiles are the files that are named, and those in folders that are.
func manifestFiles(named []string) ([]string, error) {
	var files []string
	for _, name := range named {
		info, err := os.Stat(name)
		if err != nil || !info.IsDir() {
			files = append(files, name) // what cannot be read is said by who reads it
			continue
		}
		err = filepath.WalkDir(name, func(path string, entry fs.DirEntry, err error) error {
			if err == nil && !entry.IsDir() && slices.Contains([]string{".yaml", ".yml", ".json"}, filepath.Ext(path)) {
				files = append(files, path)
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("cannot read the folder %s: %w", name, err)
		}
	}
	if stdin := slices.Index(files, "-"); stdin >= 0 && slices.Contains(files[stdin+1:], "-") {
		return nil, errors.New("- is given twice, and standard input can be read once")
	}
	return files, nil
}

// add takes the MeshServices and Services of a document.
func (f *meshFiles) add(document *manifest.Document, namespace string) error {
	wanted := func(o *manifest.Object) bool { return o.Kind == v1alpha1.KindMeshService || o.Kind == "Service" }
	if !slices.ContainsFunc(document.Objects, wanted) {
		return nil
	}
	whole, err := document.JSON()
	if err != nil {
		return err
	}
	items := []json.RawMessage{whole}
	if len(document.Objects) != 1 || document.Objects[0].Path != "" {
		var list struct{ Items []json.RawMessage }
		if err := json.Unmarshal(whole, &list); err != nil {
			return err
		}
		items = list.Items
	}
	for n, object := range document.Objects {
		switch {
		case n >= len(items): // a list in a list, of which only pods are known
		case object.Kind == v1alpha1.KindMeshService:
			f.documents = append(f.documents, meshOf(object, items[n], namespace))
		case object.Kind == "Service" && object.APIVersion == "v1":
			f.services = append(f.services, serviceOf(object, items[n], namespace))
		}
	}
	return nil
}

func meshOf(object *manifest.Object, data []byte, namespace string) *meshDocument {
	d := &meshDocument{object: object}
	document, err := v1alpha1.DecodeMeshService(data)
	if err == nil && document.Namespace == "" {
		document.Namespace = namespace
		// Short names of Services are those of the namespace.
		document, err = inNamespace(document)
	}
	if err == nil {
		d.document = document
		d.service, err = mesh.Resolve(document)
	}
	if err != nil && !errors.As(err, &d.problems) {
		d.problems = v1alpha1.Problems{{Message: err.Error()}}
	}
	return d
}

// inNamespace fills in the defaults that depend on the namespace.
func inNamespace(document *v1alpha1.MeshService) (*v1alpha1.MeshService, error) {
	for n := range document.Spec.Egress {
		if service := document.Spec.Egress[n].Service; service != nil && service.Namespace == "" {
			service.Namespace = document.Namespace
		}
	}
	if problems := v1alpha1.ValidateMeshService(document); len(problems) > 0 {
		return nil, problems.ToAggregate()
	}
	return document, nil
}

func serviceOf(object *manifest.Object, data []byte, namespace string) kubernetesService {
	s := kubernetesService{name: object.Name, namespace: object.Namespace}
	if s.namespace == "" {
		s.namespace = namespace
	}
	var fields struct {
		Spec struct {
			Ports []struct {
				Port int32 `json:"port"`
			} `json:"ports"`
		} `json:"spec"`
	}
	// A Service that is not one has no ports here, and is refused by kube-apiserver.
	_ = json.Unmarshal(data, &fields)
	for _, p := range fields.Spec.Ports {
		s.ports = append(s.ports, p.Port)
	}
	return s
}

// rendered is what a pod of the service is given: the generation, and the files that
// Envoy has with it in a pod with the defaults.
func rendered(service *mesh.Service) (*bootstrap.Generation, []bootstrap.File, error) {
	g, err := envoy.Render(service)
	if err != nil {
		return nil, nil, err
	}
	defaults := v1alpha1.DefaultConfig()
	of := defaults.Settings
	return g, bootstrap.New(bootstrap.Config{
		Service: service.Name, PodName: "pod", PodNamespace: service.Namespace, NodeName: "node", Folder: lifecycle.RunDir,
		InboundPort: uint16(defaults.Ports.Inbound), OutboundPort: uint16(defaults.Ports.Outbound), IPv4: true, IPv6: true,
		UpstreamAge: of.Envoy.MaxUpstreamAge.Duration, UpstreamIdle: of.Envoy.UpstreamIdleTimeout.Duration,
		DownstreamAge: of.Envoy.MaxDownstreamAge.Duration, DrainTime: of.Lifecycle.DrainTime.Duration, Generation: g,
	}), nil
}
