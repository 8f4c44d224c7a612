package gateway

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/koinon-network/koinon/core"
)

// Limits on what a stranger may send.
const (
	maxBody  = 4 << 20 // bytes of a request body
	maxDepth = 32      // nesting of its JSON
)

// readBody reads a bounded JSON body into v. The error names the field.
func (d *dialect) readBody(w http.ResponseWriter, r *http.Request, v any) error {
	if r.ContentLength > maxBody {
		return tooLarge()
	}
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var m *http.MaxBytesError
		if errors.As(err, &m) {
			return tooLarge()
		}
		return core.Errorf(core.CodeInvalid, "the request body could not be read: %v", err)
	}
	return d.decode(b, v)
}

func tooLarge() error {
	return &core.Error{Code: core.CodeTooLarge, Message: fmt.Sprintf("the request body is larger than %d bytes", maxBody), Next: "send a shorter conversation"}
}

// decode parses one JSON object.
func (d *dialect) decode(b []byte, v any) error {
	if err := checkDepth(b); err != nil {
		return err
	}
	if err := d.refuseUnknown(b, v); err != nil {
		return err
	}
	err := json.Unmarshal(b, v)
	var syn *json.SyntaxError
	var typ *json.UnmarshalTypeError
	var own *core.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &own):
		return own
	case errors.As(err, &syn):
		return core.Errorf(core.CodeInvalid, "the body is not valid JSON: %v at byte %d", syn, syn.Offset)
	case errors.As(err, &typ):
		field := typ.Field
		for _, embedded := range []string{"sampling.", "drawing.", "routing."} {
			field = strings.TrimPrefix(field, embedded)
		}
		return invalid(field, "%s: a JSON %s does not fit here, it must be a %s", field, typ.Value, jsonName(typ))
	default:
		return core.Errorf(core.CodeInvalid, "the body is not valid: %v", err)
	}
}

func jsonName(t *json.UnmarshalTypeError) string {
	switch k := t.Type.Kind().String(); k {
	case "struct", "map":
		return "object"
	case "slice", "array":
		return "list"
	case "bool":
		return "boolean"
	case "string":
		return "string"
	case "uint64", "uint32", "uint":
		return "whole number of at least 0"
	case "int", "int64", "int32":
		return "whole number"
	default:
		return "number"
	}
}

// checkDepth refuses deep nesting before the parser recurses into it.
func checkDepth(b []byte) error {
	depth, inString := 0, false
	for i := 0; i < len(b); i++ {
		switch c := b[i]; {
		case inString && c == '\\':
			i++
		case c == '"':
			inString = !inString
		case inString:
		case c == '{' || c == '[':
			if depth++; depth > maxDepth {
				return core.Errorf(core.CodeInvalid, "the body is nested deeper than %d levels", maxDepth)
			}
		case c == '}' || c == ']':
			depth--
		}
	}
	return nil
}
