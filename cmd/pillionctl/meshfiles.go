package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"

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
	// broken is what could not be read.
	broken []*manifest.Error
	// others are the kinds of the other objects, as they come.
	others []string
	// services are the Kubernetes Services beside them.
	services []kubernetesService
}

// kubernetesService has what a destination refers to.
type kubernetesService struct {
	name, namespace string
	ports           []int32
	// targets are the ports of pods, as far as they are numbers, by port.
	targets map[int32]int32
}

// loadMesh reads all files before anything is done with one of them.
func (p *program) loadMesh(files []string, namespace string) (*meshFiles, error) {
	if len(files) == 0 {
		return nil, errors.New("no MeshServices: give a file or folder with -f FILE, or - for standard input")
	}
	if wrong := validation.IsDNS1123Label(namespace); len(wrong) > 0 {
		return nil, fmt.Errorf("--namespace is %q; accepted is the name of a namespace: 1 to 63 of a-z, 0-9 and -", namespace)
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
		stream, broken := manifest.ReadAll(name, data)
		loaded.broken = append(loaded.broken, broken...)
		for _, document := range stream.Documents() {
			if err := loaded.add(document, namespace); err != nil {
				return nil, findings{fmt.Errorf("%s: %w", name, err)}
			}
		}
	}
	return loaded, nil
}

// none is an error where there is no MeshService, and says what there is: mostly the
// file is another one, or the command before the pipe has failed.
func (f *meshFiles) none(files ...string) error {
	if len(f.documents)+len(f.broken) > 0 {
		return nil
	}
	in := strings.Join(files, ", ")
	if in == "-" {
		in = "standard input"
	}
	slices.Sort(f.others)
	others := slices.Compact(f.others)
	switch shown := 8; {
	case len(others) == 0:
		return fmt.Errorf("there is no MeshService in %s, nor any other object", in)
	case len(others) > shown:
		others = append(others[:shown:shown], fmt.Sprintf("%d kinds more", len(others)-shown))
	}
	return fmt.Errorf("there is no MeshService in %s, only %s", in, strings.Join(others, ", "))
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
		// Behind the separator is what a symbolic link leads to.
		err = filepath.WalkDir(name+string(filepath.Separator), func(path string, entry fs.DirEntry, err error) error {
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

// isMesh says whether an object is a MeshService, or is meant to be one: nobody else
// tells of a kind that is misspelled before the cluster does.
func isMesh(o *manifest.Object) bool {
	group, _, _ := strings.Cut(o.APIVersion, "/")
	return strings.EqualFold(o.Kind, v1alpha1.KindMeshService) || group == v1alpha1.Group && o.Kind != v1alpha1.KindInjectorConfig
}

// add takes the MeshServices and Services of a document.
func (f *meshFiles) add(document *manifest.Document, namespace string) error {
	wanted := func(o *manifest.Object) bool { return isMesh(o) || o.Kind == "Service" }
	for _, o := range document.Objects {
		switch {
		case isMesh(o):
		case o.Kind == "":
			f.others = append(f.others, "a document without kind")
		default:
			f.others = append(f.others, strings.TrimSpace(o.Kind+" "+o.APIVersion))
		}
	}
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
		case isMesh(object):
			f.documents = append(f.documents, meshOf(object, items[n], namespace))
		case object.Kind == "Service" && object.APIVersion == "v1":
			f.services = append(f.services, serviceOf(object, items[n], namespace))
		}
	}
	return nil
}

func meshOf(object *manifest.Object, data []byte, namespace string) *meshDocument {
	d := &meshDocument{object: object}
	document, err := v1alpha1.DecodeMeshService(inNamespace(data, namespace))
	if err == nil {
		d.document = document
		d.service, err = mesh.Resolve(document)
	}
	if err != nil && !errors.As(err, &d.problems) {
		d.problems = v1alpha1.Problems{{Message: err.Error()}}
	}
	return d
}

// inNamespace is a document that says its namespace: short names of Services, and with
// them what is there twice, depend on it.
func inNamespace(data []byte, namespace string) []byte {
	var document, metadata map[string]json.RawMessage
	if json.Unmarshal(data, &document) != nil || json.Unmarshal(document["metadata"], &metadata) != nil || metadata == nil {
		return data // that it has none is said by who reads it
	}
	if given := string(metadata["namespace"]); given != "" && given != `""` && given != "null" {
		return data
	}
	metadata["namespace"] = json.RawMessage(strconv.Quote(namespace))
	var err error
	if document["metadata"], err = json.Marshal(metadata); err != nil {
		return data
	}
	whole, err := json.Marshal(document)
	if err != nil {
		return data
	}
	return whole
}

func serviceOf(object *manifest.Object, data []byte, namespace string) kubernetesService {
	s := kubernetesService{name: object.Name, namespace: object.Namespace, targets: map[int32]int32{}}
	if s.namespace == "" {
		s.namespace = namespace
	}
	var fields struct {
		Spec struct {
			Ports []struct {
				Port       int32              `json:"port"`
				TargetPort intstr.IntOrString `json:"targetPort"`
			} `json:"ports"`
		} `json:"spec"`
	}
	// A Service that is not one has no ports here, and is refused by kube-apiserver.
	_ = json.Unmarshal(data, &fields)
	for _, p := range fields.Spec.Ports {
		s.ports = append(s.ports, p.Port)
		switch {
		case p.TargetPort.IntVal > 0:
			s.targets[p.Port] = p.TargetPort.IntVal
		case p.TargetPort.StrVal == "":
			s.targets[p.Port] = p.Port
		}
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
