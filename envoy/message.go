package envoy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	clusterv3 "github.com/envoyproxy/go-control-plane/envoy/config/cluster/v3"

	"github.com/pillion-mesh/pillion/bootstrap"
	"github.com/pillion-mesh/pillion/mesh"
)

// renderer collects what a service's generation refers to, and the first error.
type renderer struct {
	service *mesh.Service
	// clusters by plain name, and by whole name.
	names    map[string]string
	clusters map[string]bootstrap.Cluster
	err      error
}

// hashDigits of a cluster's content are enough to tell the few from each other that
// a name ever has at the same time.
const hashDigits = 10

// addCluster adds one that routes lead to, and names it NAME@HASH: routes can lead to
// another at any time. Statistics keep the plain name.
func (r *renderer) addCluster(name string, c *clusterv3.Cluster) {
	fields := r.clusterFields(name, c)
	sum := sha256.Sum256(r.written(name, fields))
	r.add(name, name+"@"+hex.EncodeToString(sum[:])[:hashDigits], fields)
}

// addInPlace adds one that a filter chain leads to. Its name is part of the chain, and a
// chain that changes ends its connections, so the name stays.
func (r *renderer) addInPlace(name string, c *clusterv3.Cluster) {
	r.add(name, name, r.clusterFields(name, c))
}

func (r *renderer) clusterFields(name string, c *clusterv3.Cluster) map[string]any {
	c.Name, c.AltStatName = name, name
	fields := r.fields(name, c)
	if fields != nil {
		fields["@type"] = "type.googleapis.com/" + string(c.ProtoReflect().Descriptor().FullName())
	}
	return fields
}

func (r *renderer) add(name, whole string, fields map[string]any) {
	if fields == nil {
		return
	}
	fields["name"] = whole
	r.names[name] = whole
	r.clusters[whole] = bootstrap.Cluster{Name: whole, Message: r.written(name, fields)}
}

// raw is a message that was checked, as JSON that is the same for the same message.
func (r *renderer) raw(what string, m proto.Message) json.RawMessage {
	fields := r.fields(what, m)
	if fields == nil {
		return nil
	}
	return r.written(what, fields)
}

// fields of a message that was checked, under Envoy's own names; nil where it is wrong.
func (r *renderer) fields(what string, m proto.Message) map[string]any {
	if r.err != nil {
		return nil
	}
	if err := validate(m); err != nil {
		r.failed(what, err)
		return nil
	}
	content, err := protojson.MarshalOptions{UseProtoNames: true}.Marshal(m)
	if err != nil {
		r.failed(what, err)
		return nil
	}
	decoder := json.NewDecoder(bytes.NewReader(content))
	// No number passes through a float.
	decoder.UseNumber()
	var fields map[string]any
	if err := decoder.Decode(&fields); err != nil {
		r.failed(what, err)
		return nil
	}
	return fields
}

// written by package json they have an order: package protojson varies its spaces on
// purpose.
func (r *renderer) written(what string, fields map[string]any) json.RawMessage {
	content, err := json.Marshal(fields)
	if err != nil {
		r.failed(what, err)
	}
	return content
}

func (r *renderer) failed(what string, err error) {
	if r.err == nil {
		r.err = fmt.Errorf("%s: %w", what, err)
	}
}

// validate asks a message whether it is valid, and those that are packed in it, which it
// does not look at itself.
func validate(m proto.Message) error {
	if v, ok := m.(interface{ ValidateAll() error }); ok {
		if err := v.ValidateAll(); err != nil {
			return err
		}
	}
	if packed, ok := m.(*anypb.Any); ok {
		inner, err := packed.UnmarshalNew()
		if err != nil {
			return err
		}
		return validate(inner)
	}
	return validateFields(m.ProtoReflect())
}

func validateFields(m protoreflect.Message) error {
	var err error
	visit := func(v protoreflect.Value) {
		if err == nil {
			err = validateInner(v.Message())
		}
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		switch {
		case f.IsMap():
			if f.MapValue().Message() != nil {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool { visit(v); return err == nil })
			}
		case f.Message() == nil:
		case f.IsList():
			for n := range v.List().Len() {
				visit(v.List().Get(n))
			}
		default:
			visit(v)
		}
		return err == nil
	})
	return err
}

// validateInner looks for packed messages: what holds them has validated the others.
func validateInner(m protoreflect.Message) error {
	if packed, ok := m.Interface().(*anypb.Any); ok {
		return validate(packed)
	}
	return validateFields(m)
}

// packed cannot fail: no message here that is put into another has text from outside.
func packed(m proto.Message) *anypb.Any {
	a, err := anypb.New(m)
	if err != nil {
		panic(fmt.Sprintf("packing a %T: %v", m, err))
	}
	return a
}

func seconds(d time.Duration) *durationpb.Duration { return durationpb.New(d) }

// bound is nil for a limit that must be left out to be none.
func bound(d time.Duration) *durationpb.Duration {
	if d == 0 {
		return nil
	}
	return durationpb.New(d)
}

func number(n uint32) *wrapperspb.UInt32Value { return wrapperspb.UInt32(n) }
