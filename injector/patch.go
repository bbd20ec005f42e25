package injector

import (
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
	"gomodules.xyz/jsonpatch/v2"
)

// AppendPatch appends a patch as JSON (RFC 6902).
func AppendPatch(dst []byte, patch []jsonpatch.Operation) ([]byte, error) {
	dst = append(dst, '[')
	for n, op := range patch {
		if n > 0 {
			dst = append(dst, ',')
		}
		dst = append(dst, `{"op":"`...)
		dst = append(dst, op.Operation...)
		dst = append(dst, `","path":`...)
		var err error
		if dst, err = jsontext.AppendQuote(dst, op.Path); err != nil {
			return nil, fmt.Errorf("writing the path %q of a patch: %w", op.Path, err)
		}
		if op.Operation != "remove" {
			dst = append(dst, `,"value":`...)
			if dst, err = appendValue(dst, op.Value); err != nil {
				return nil, fmt.Errorf("writing the value at %s of a patch: %w", op.Path, err)
			}
		}
		dst = append(dst, '}')
	}
	return append(dst, ']'), nil
}

func appendValue(dst []byte, value any) ([]byte, error) {
	if rendered, ok := value.(jsontext.Value); ok {
		return append(dst, rendered...), nil
	}
	rendered, err := json.Marshal(value)
	return append(dst, rendered...), err
}
