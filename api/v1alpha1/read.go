package v1alpha1

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"regexp"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/pillion-mesh/pillion/nearest"
)

// readObject puts a parsed document into a value. What does not fit is left out
// and returned as a problem, so that the rest can be validated as well.
func readObject[T any](object map[string]any) (*T, Problems) {
	var r reader
	var document T
	r.object(reflect.ValueOf(&document).Elem(), "", object)
	return &document, r.problems
}

// reader collects the problems of one document. It exists because a decoder of
// JSON stops at the first value that does not fit and does not say where it is.
type reader struct {
	problems Problems
}

func (r *reader) problem(path, format string, args ...any) {
	r.problems = append(r.problems, Problem{path, fmt.Sprintf(format, args...)})
}

// value reads a value into target and says at path what does not fit.
func (r *reader) value(target reflect.Value, path string, value any) {
	if value == nil || value == "" {
		r.problem(path, "is empty: give a value or leave it out")
		return
	}
	if target.Kind() == reflect.Pointer {
		target.Set(reflect.New(target.Type().Elem()))
		r.present(target.Elem(), path, value)
		return
	}
	r.present(target, path, value)
}

// zero finds a number that is given as 0 and has no pointer: there 0 means that
// nothing was given, and the default would take its place in silence.
func (r *reader) zero(target reflect.Value, path string, required bool) {
	switch {
	case !target.CanInt() || !target.IsZero():
	case required:
		r.problem(path, "must be above 0")
	default:
		r.problem(path, "must be above 0; leave it out for the default")
	}
}

// present reads a value that is not empty.
func (r *reader) present(target reflect.Value, path string, value any) {
	if accepted := scalarText(target.Type()); accepted != "" {
		r.scalar(target, path, accepted, value)
		return
	}
	switch target.Kind() {
	case reflect.Struct:
		object, ok := value.(map[string]any)
		if !ok {
			r.problem(path, "must have fields (%s), got %s%s", strings.Join(fieldNames(target), ", "), show(value), objectHint(target, value))
			return
		}
		r.object(target, path, object)
	case reflect.Slice:
		list, ok := value.([]any)
		if !ok {
			r.problem(path, "must be a list, got %s%s", show(value), listHint(value))
			return
		}
		target.Set(reflect.MakeSlice(target.Type(), len(list), len(list)))
		for n, item := range list {
			r.value(target.Index(n), fmt.Sprintf("%s[%d]", path, n), item)
		}
	}
}

func (r *reader) object(target reflect.Value, path string, object map[string]any) {
	known := fieldsOf(target)
	for _, name := range slices.Sorted(maps.Keys(object)) {
		at := strings.TrimPrefix(path+"."+name, ".")
		field, ok := known[name]
		if ok {
			known := len(r.problems)
			r.value(field, at, object[name])
			if len(r.problems) == known {
				r.zero(field, at, slices.Contains(requiredOf(target.Type()), name))
			}
			continue
		}
		names := fieldNames(target)
		near, ok := nearest.Name(name, names)
		if meant := meantField(name); slices.Contains(names, meant) {
			near, ok = meant, true
		}
		if ok {
			r.problem(at, "unknown field; did you mean %s?", near)
		} else {
			r.problem(at, "unknown field; known here: %s", strings.Join(names, ", "))
		}
	}
}

// scalar reads a text or a number.
func (r *reader) scalar(target reflect.Value, path, accepted string, value any) {
	switch v := value.(type) {
	case map[string]any, []any, bool:
		r.problem(path, "must be %s, got %s%s", accepted, show(value), hint(target, path, value))
		return
	case string:
		// What is longer is not worth the work of parsing it.
		if len(v) > longestScalar && target.Kind() != reflect.String {
			r.problem(path, "must be %s, got %d characters", accepted, len(v))
			return
		}
	}
	text, err := json.Marshal(value)
	if err == nil && target.Type() == reflect.TypeFor[resource.Quantity]() {
		_, err = ParseQuantity(strings.Trim(string(text), `"`))
	}
	if err == nil && target.Type() == reflect.TypeFor[metav1.Duration]() && !durationText.MatchString(strings.Trim(string(text), `"-`)) {
		err = errors.New("not in the form that MeshService's schema takes, as +1s")
	}
	if err == nil {
		err = json.Unmarshal(text, target.Addr().Interface())
	}
	if err != nil {
		target.SetZero()
		if target.Kind() == reflect.Int32 && wholeNumber.Match(text) {
			accepted = farAway(path)
		}
		r.problem(path, "must be %s, got %s%s", accepted, show(value), hint(target, path, value))
	}
}

// farAway is what is accepted where a number is none that fits its type. The field's own
// bounds are narrower for most, and told of numbers that fit.
func farAway(path string) string {
	if strings.HasSuffix(path, ".port") {
		return "a port from 1 to 65535"
	}
	return "a whole number that fits 32 bits"
}

// DurationPattern is what a duration has to look like in MeshService's schema: as Go
// writes it, and no more of what Go reads.
const DurationPattern = `^(0|([0-9]+(\.[0-9]+)?(ns|us|µs|ms|s|m|h))+)$`

var wholeNumber = regexp.MustCompile(`^-?[0-9]+$`)

var durationText = regexp.MustCompile(DurationPattern)

// longestScalar bounds the text of a number, quantity or duration.
const longestScalar = 32

// scalarText says what is accepted for the types that are written as one text or
// number; empty for all others.
func scalarText(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[resource.Quantity]():
		return "a quantity as 100m or 128Mi"
	case reflect.TypeFor[metav1.Duration]():
		return "a duration with its unit as 30s or 1m30s"
	case reflect.TypeFor[intstr.IntOrString]():
		return `a port as 3306 or a range as "7000-7001"`
	}
	switch t.Kind() {
	case reflect.String:
		return "a text (in quotes where it looks like a number or a boolean)"
	case reflect.Int32, reflect.Int64:
		return "a whole number"
	}
	return ""
}

// fieldsOf are the fields of a struct by their name in JSON, those of embedded
// structs among them.
func fieldsOf(target reflect.Value) map[string]reflect.Value {
	fields := map[string]reflect.Value{}
	for field, value := range target.Fields() {
		name, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if field.Anonymous && name == "" {
			maps.Copy(fields, fieldsOf(value))
			continue
		}
		fields[name] = value
	}
	return fields
}

// requiredOf are the names in JSON of the fields that have to be given: those that
// are written even when they are zero.
func requiredOf(t reflect.Type) []string {
	var names []string
	for field := range t.Fields() {
		if name, options, _ := strings.Cut(field.Tag.Get("json"), ","); options == "" {
			names = append(names, name)
		}
	}
	return names
}

func fieldNames(target reflect.Value) []string {
	return slices.Sorted(maps.Keys(fieldsOf(target)))
}

// show writes a value as it would stand in the document, cut where it is long.
func show(value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		return fmt.Sprintf("%T", value)
	}
	if runes := []rune(string(text)); len(runes) > 60 {
		return string(runes[:57]) + "..."
	}
	return string(text)
}
