package gguf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"
)

// ValueType is the type of a metadata value, numbered as in GGUF.
type ValueType uint32

// Value types.
const (
	Uint8 ValueType = iota
	Int8
	Uint16
	Int16
	Uint32
	Int32
	Float32
	Bool
	String
	Array
	Uint64
	Int64
	Float64
)

var valueNames = [...]string{"uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "bool",
	"string", "array", "uint64", "int64", "float64"}

var valueSizes = [...]int{1, 1, 2, 2, 4, 4, 4, 1, 0, 0, 8, 8, 8}

// String returns GGUF's name of the type.
func (t ValueType) String() string {
	if int(t) < len(valueNames) {
		return valueNames[t]
	}
	return fmt.Sprintf("value type %d", uint32(t))
}

// ErrMissing is wrapped by the getters' errors when a key is absent.
var ErrMissing = errors.New("key is missing")

// Value is one metadata value in its encoded form: decoding on demand keeps
// the cost of opening a file independent of what nobody asks for.
type Value struct {
	Type ValueType
	Elem ValueType // of an Array
	Len  int       // elements of an Array
	raw  []byte    // scalar or element bytes; a String's content
}

func (v Value) describe() string {
	if v.Type == Array {
		return fmt.Sprintf("array of %d %v", v.Len, v.Elem)
	}
	return v.Type.String()
}

func (v Value) equal(o Value) bool {
	return v.Type == o.Type && v.Elem == o.Elem && v.Len == o.Len && bytes.Equal(v.raw, o.raw)
}

// Metadata is a set of keys and typed values. The zero value is empty.
type Metadata struct {
	values map[string]Value
}

// Keys returns all keys in ascending byte order.
func (m Metadata) Keys() []string {
	keys := make([]string, 0, len(m.values))
	for k := range m.values {
		keys = append(keys, k)
	}
	sort.Strings(keys)
	return keys
}

// Has reports whether the key is present.
func (m Metadata) Has(key string) bool { _, ok := m.values[key]; return ok }

// Lookup returns the encoded value of a key.
func (m Metadata) Lookup(key string) (Value, bool) { v, ok := m.values[key]; return v, ok }

func (m Metadata) get(key, want string, ok func(Value) bool) (Value, error) {
	v, present := m.values[key]
	if !present {
		return v, fmt.Errorf("gguf: %s: %w", key, ErrMissing)
	}
	if !ok(v) {
		return v, fmt.Errorf("gguf: %s is %s, not %s", key, v.describe(), want)
	}
	return v, nil
}

// Text returns a string.
func (m Metadata) Text(key string) (string, error) {
	v, err := m.get(key, "a string", func(v Value) bool { return v.Type == String })
	return string(v.raw), err
}

// Uint returns an integer of any width that is not negative.
func (m Metadata) Uint(key string) (uint64, error) {
	v, err := m.get(key, "an integer", func(v Value) bool { return v.Type.integer() })
	if err != nil {
		return 0, err
	}
	n, negative := integerAt(v.Type, v.raw)
	if negative {
		return 0, fmt.Errorf("gguf: %s is negative: %d", key, int64(n))
	}
	return n, nil
}

// Int returns a count or size that must fit an int32, which every sane one does.
func (m Metadata) Int(key string) (int, error) {
	n, err := m.Uint(key)
	if err == nil && n > math.MaxInt32 {
		err = fmt.Errorf("gguf: %s is too large: %d", key, n)
	}
	if err != nil {
		return 0, err
	}
	return int(n), nil
}

// Float returns a float32 or float64.
func (m Metadata) Float(key string) (float64, error) {
	v, err := m.get(key, "a float", func(v Value) bool { return v.Type == Float32 || v.Type == Float64 })
	if err != nil {
		return 0, err
	}
	return floatAt(v.Type, v.raw), nil
}

// Bool returns a truth value.
func (m Metadata) Bool(key string) (bool, error) {
	v, err := m.get(key, "a bool", func(v Value) bool { return v.Type == Bool })
	return err == nil && v.raw[0] == 1, err
}

// Strings returns an array of strings.
func (m Metadata) Strings(key string) ([]string, error) {
	v, err := m.get(key, "an array of strings", func(v Value) bool { return v.Type == Array && v.Elem == String })
	if err != nil {
		return nil, err
	}
	// One copy backs all the strings.
	all, at := string(v.raw), 0
	out := make([]string, v.Len)
	for i := range out {
		n := int(binary.LittleEndian.Uint64(v.raw[at:]))
		out[i] = all[at+8 : at+8+n]
		at += 8 + n
	}
	return out, nil
}

// Bools returns an array of truth values.
func (m Metadata) Bools(key string) ([]bool, error) {
	v, err := m.get(key, "an array of bools", func(v Value) bool { return v.Type == Array && v.Elem == Bool })
	if err != nil {
		return nil, err
	}
	out := make([]bool, v.Len)
	for i := range out {
		out[i] = v.raw[i] == 1
	}
	return out, nil
}

// Ints returns an array of integers of any width (uint64 above 2^63 wraps).
func (m Metadata) Ints(key string) ([]int64, error) {
	v, err := m.get(key, "an array of integers", func(v Value) bool { return v.Type == Array && v.Elem.integer() })
	if err != nil {
		return nil, err
	}
	size := valueSizes[v.Elem]
	out := make([]int64, v.Len)
	for i := range out {
		n, _ := integerAt(v.Elem, v.raw[i*size:])
		out[i] = int64(n)
	}
	return out, nil
}

// Floats returns an array of float32 (float64 is rounded).
func (m Metadata) Floats(key string) ([]float32, error) {
	v, err := m.get(key, "an array of floats", func(v Value) bool {
		return v.Type == Array && (v.Elem == Float32 || v.Elem == Float64)
	})
	if err != nil {
		return nil, err
	}
	size := valueSizes[v.Elem]
	out := make([]float32, v.Len)
	for i := range out {
		out[i] = float32(floatAt(v.Elem, v.raw[i*size:]))
	}
	return out, nil
}

// Or returns fallback when the getter's error says that the key is missing, as
// in Or(m.Uint("x"))(7). Any other error stays.
func Or[T any](v T, err error) func(fallback T) (T, error) {
	return func(fallback T) (T, error) {
		if errors.Is(err, ErrMissing) {
			return fallback, nil
		}
		return v, err
	}
}

func (t ValueType) integer() bool {
	return slices.Contains([]ValueType{Uint8, Int8, Uint16, Int16, Uint32, Int32, Uint64, Int64}, t)
}

// integerAt returns the value sign-extended to 64 bits and whether it is negative.
func integerAt(t ValueType, b []byte) (n uint64, negative bool) {
	le := binary.LittleEndian
	switch t {
	case Uint8:
		return uint64(b[0]), false
	case Uint16:
		return uint64(le.Uint16(b)), false
	case Uint32:
		return uint64(le.Uint32(b)), false
	case Uint64:
		return le.Uint64(b), false
	case Int8:
		n = uint64(int8(b[0]))
	case Int16:
		n = uint64(int16(le.Uint16(b)))
	case Int32:
		n = uint64(int32(le.Uint32(b)))
	default:
		n = le.Uint64(b)
	}
	return n, int64(n) < 0
}

func floatAt(t ValueType, b []byte) float64 {
	if t == Float32 {
		return float64(math.Float32frombits(binary.LittleEndian.Uint32(b)))
	}
	return math.Float64frombits(binary.LittleEndian.Uint64(b))
}

// Set stores a value: bool, string, any fixed-width integer or float, or a
// slice of one of these. It panics on any other type, a programming error.
func (m *Metadata) Set(key string, value any) {
	if m.values == nil {
		m.values = map[string]Value{}
	}
	m.values[key] = encodeValue(value)
}

// Copy stores an encoded value, as taken from another file by Lookup.
func (m *Metadata) Copy(key string, v Value) {
	if m.values == nil {
		m.values = map[string]Value{}
	}
	m.values[key] = v
}

// Delete removes a key.
func (m *Metadata) Delete(key string) { delete(m.values, key) }

func encodeValue(value any) Value {
	switch v := value.(type) {
	case bool:
		return Value{Type: Bool, raw: appendBool(nil, v)}
	case string:
		return Value{Type: String, raw: []byte(v)}
	case []string:
		var raw []byte
		for _, s := range v {
			raw = appendText(raw, s)
		}
		return Value{Type: Array, Elem: String, Len: len(v), raw: raw}
	case []bool:
		var raw []byte
		for _, b := range v {
			raw = appendBool(raw, b)
		}
		return Value{Type: Array, Elem: Bool, Len: len(v), raw: raw}
	case uint8:
		return Value{Type: Uint8, raw: []byte{v}}
	case int8:
		return Value{Type: Int8, raw: []byte{byte(v)}}
	case uint16:
		return fixed(Uint16, v)
	case int16:
		return fixed(Int16, v)
	case uint32:
		return fixed(Uint32, v)
	case int32:
		return fixed(Int32, v)
	case uint64:
		return fixed(Uint64, v)
	case int64:
		return fixed(Int64, v)
	case float32:
		return fixed(Float32, v)
	case float64:
		return fixed(Float64, v)
	case []uint8:
		return Value{Type: Array, Elem: Uint8, Len: len(v), raw: slices.Clone(v)}
	case []int8:
		return fixedArray(Int8, v)
	case []uint16:
		return fixedArray(Uint16, v)
	case []int16:
		return fixedArray(Int16, v)
	case []uint32:
		return fixedArray(Uint32, v)
	case []int32:
		return fixedArray(Int32, v)
	case []uint64:
		return fixedArray(Uint64, v)
	case []int64:
		return fixedArray(Int64, v)
	case []float32:
		return fixedArray(Float32, v)
	case []float64:
		return fixedArray(Float64, v)
	}
	panic(fmt.Sprintf("gguf: metadata cannot hold %T", value))
}

func fixed(t ValueType, v any) Value { return Value{Type: t, raw: littleEndian(v)} }

func fixedArray[T any](elem ValueType, v []T) Value {
	return Value{Type: Array, Elem: elem, Len: len(v), raw: littleEndian(v)}
}

func littleEndian(v any) []byte {
	b, err := binary.Append(nil, binary.LittleEndian, v)
	if err != nil {
		panic(err)
	}
	return b
}

func appendBool(b []byte, v bool) []byte {
	if v {
		return append(b, 1)
	}
	return append(b, 0)
}

func appendText(b []byte, s string) []byte {
	return append(binary.LittleEndian.AppendUint64(b, uint64(len(s))), s...)
}
