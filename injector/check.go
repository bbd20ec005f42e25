package injector

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	"gomodules.xyz/jsonpatch/v2"
)

// CheckPatch is the guard between a mistake in this package and kube-apiserver: a
// patch that does not apply fails the admission request even where failurePolicy
// is Ignore. It resolves every operation's path on the pod as it came, in one scan
// and without applying anything.
//
// It is stricter than RFC 6902 where that catches mistakes: a replaced or removed
// value must be there, and once an array's elements have moved, no operation may
// reach into one of the pod's own.
func CheckPatch(rawPod []byte, patch []jsonpatch.Operation) error {
	root := &place{index: -1}
	for _, op := range patch {
		if !strings.HasPrefix(op.Path, "/") {
			return fmt.Errorf("checking the patch: path %q is not a JSON pointer", op.Path)
		}
		root.want(op.Path)
	}
	// The pod was decoded before, which refuses what these two let pass.
	dec := jsontext.NewDecoder(bytes.NewBuffer(rawPod), jsontext.AllowDuplicateNames(true), jsontext.AllowInvalidUTF8(true))
	if err := root.scan(dec); err != nil {
		return fmt.Errorf("checking the patch: reading the pod: %w", err)
	}
	for n, op := range patch {
		if err := root.apply(op); err != nil {
			return fmt.Errorf("checking the patch: operation %d, %s %s: %w", n, op.Operation, op.Path, err)
		}
	}
	return nil
}

// place is a value that some path leads to or through.
type place struct {
	token string
	// index is token as an array's index, -1 where it is none.
	index    int
	children []place
	kind     jsontext.Kind // 0 where the pod has no such value
	length   int           // of an array
	// moved says that an operation has added or removed an array's element.
	moved bool
	// written says that the value is one that an operation brought.
	written bool
}

func (p *place) child(token string) *place {
	for n := range p.children {
		if p.children[n].token == token {
			return &p.children[n]
		}
	}
	return nil
}

// member is child for a name as it is in JSON, which is seldom worth unquoting.
func (p *place) member(quoted jsontext.Value) *place {
	if bytes.IndexByte(quoted, '\\') >= 0 {
		unquoted, err := jsontext.AppendUnquote(nil, quoted)
		if err != nil {
			return nil
		}
		return p.child(string(unquoted))
	}
	name := quoted[1 : len(quoted)-1]
	for n := range p.children {
		if p.children[n].token == string(name) {
			return &p.children[n]
		}
	}
	return nil
}

func (p *place) element(index int) *place {
	for n := range p.children {
		if p.children[n].index == index {
			return &p.children[n]
		}
	}
	return nil
}

// nextToken cuts the first token from a JSON pointer.
func nextToken(path string) (token, rest string) {
	token, rest, more := strings.Cut(path[1:], "/")
	if more {
		rest = path[1+len(token):]
	}
	if strings.Contains(token, "~") {
		token = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
	}
	return token, rest
}

// indexOf is a token as an array's index, -1 where it is none.
func indexOf(token string) int {
	if token == "" || token[0] < '0' || token[0] > '9' {
		return -1 // most are names, and an error takes allocations
	}
	index, err := strconv.Atoi(token)
	if err != nil {
		return -1
	}
	return index
}

func (p *place) want(path string) {
	for path != "" {
		var token string
		token, path = nextToken(path)
		next := p.child(token)
		if next == nil {
			p.children = append(p.children, place{token: token, index: indexOf(token)})
			next = &p.children[len(p.children)-1]
		}
		p = next
	}
}

// scan reads one value and notes what is there of the places wanted.
func (p *place) scan(dec *jsontext.Decoder) error {
	p.kind = dec.PeekKind()
	if len(p.children) == 0 || (p.kind != jsontext.KindBeginObject && p.kind != jsontext.KindBeginArray) {
		return dec.SkipValue()
	}
	if _, err := dec.ReadToken(); err != nil {
		return err
	}
	for ; ; p.length++ {
		kind := dec.PeekKind()
		if kind == jsontext.KindEndObject || kind == jsontext.KindEndArray || kind == jsontext.KindInvalid {
			_, err := dec.ReadToken()
			return err
		}
		var next *place
		if p.kind == jsontext.KindBeginObject {
			name, err := dec.ReadValue()
			if err != nil {
				return err
			}
			next = p.member(name)
		} else {
			next = p.element(p.length)
		}
		var err error
		if next != nil {
			err = next.scan(dec)
		} else {
			err = dec.SkipValue()
		}
		if err != nil {
			return err
		}
	}
}

// apply follows one operation, as far as places go.
func (p *place) apply(op jsonpatch.Operation) error {
	last, rest := nextToken(op.Path)
	for ; rest != ""; last, rest = nextToken(rest) {
		if p.kind == jsontext.KindBeginArray && p.moved {
			return errors.New("it reaches into an array whose elements have moved")
		}
		p = p.child(last)
		if p.kind == 0 {
			return fmt.Errorf("there is no %q", last)
		}
		if p.written {
			return errors.New("it reaches into what an earlier operation wrote")
		}
	}
	switch p.kind {
	case jsontext.KindBeginObject:
		return p.applyMember(op.Operation, last)
	case jsontext.KindBeginArray:
		return p.applyElement(op.Operation, last)
	default:
		return errors.New("what holds it is neither an object nor an array")
	}
}

func (p *place) applyMember(operation, name string) error {
	member := p.child(name)
	switch {
	case operation == "add":
		member.kind, member.written = jsontext.KindBeginObject, true
	case member.kind == 0:
		return fmt.Errorf("there is no %q", name)
	case operation == "remove":
		member.kind = 0
	case operation != "replace":
		return errors.New("it is none of add, replace and remove")
	}
	return nil
}

func (p *place) applyElement(operation, index string) error {
	at := indexOf(index)
	if index == "-" {
		at = p.length
	}
	if at < 0 {
		return fmt.Errorf("%q is not an index", index)
	}
	switch {
	case operation == "add" && at <= p.length:
		p.length++
	case operation == "remove" && at < p.length:
		p.length--
	default:
		return fmt.Errorf("the array has %d elements", p.length)
	}
	p.moved = true
	return nil
}
