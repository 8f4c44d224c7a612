package referee

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"reflect"
)

// MaxMove bounds an encoded move in bytes.
const MaxMove = 64 << 10

// Encode writes a value of this package: fields in order, big-endian; slices,
// texts and pointers with a u32 count before them.
func Encode(v any) []byte { return appendValue(nil, reflect.ValueOf(v)) }

func appendValue(b []byte, v reflect.Value) []byte {
	switch v.Kind() {
	case reflect.Bool:
		if v.Bool() {
			return append(b, 1)
		}
		return append(b, 0)
	case reflect.Uint8:
		return append(b, byte(v.Uint()))
	case reflect.Uint32:
		return binary.BigEndian.AppendUint32(b, uint32(v.Uint()))
	case reflect.Uint64:
		return binary.BigEndian.AppendUint64(b, v.Uint())
	case reflect.Int32:
		return binary.BigEndian.AppendUint32(b, uint32(v.Int()))
	case reflect.Float32:
		return binary.BigEndian.AppendUint32(b, math.Float32bits(float32(v.Float())))
	case reflect.String:
		b = binary.BigEndian.AppendUint32(b, uint32(v.Len()))
		return append(b, v.String()...)
	case reflect.Pointer:
		if v.IsNil() {
			return binary.BigEndian.AppendUint32(b, 0)
		}
		return appendValue(binary.BigEndian.AppendUint32(b, 1), v.Elem())
	case reflect.Slice:
		b = binary.BigEndian.AppendUint32(b, uint32(v.Len()))
		if v.Type().Elem().Kind() == reflect.Uint8 {
			return append(b, v.Bytes()...)
		}
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			b = appendValue(b, v.Index(i))
		}
		return b
	case reflect.Struct:
		for i := range v.NumField() {
			b = appendValue(b, v.Field(i))
		}
		return b
	}
	panic("referee: no encoding of " + v.Type().String())
}

// Decode reads what [Encode] wrote into the value that v points to. It fails on
// bytes that are missing or left over, on a NaN, and on any second way to write a
// value.
func Decode(b []byte, v any) error {
	r := reader{b: b}
	r.value(reflect.ValueOf(v).Elem())
	if r.err == nil && len(r.b) > 0 {
		r.err = fmt.Errorf("%d bytes are left over", len(r.b))
	}
	return r.err
}

type reader struct {
	b   []byte
	err error
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.b) {
		if r.err == nil {
			r.err = fmt.Errorf("%d bytes are missing", n-len(r.b))
		}
		return make([]byte, min(n, 8))
	}
	out := r.b[:n]
	r.b = r.b[n:]
	return out
}

// count reads a number of elements of at least size bytes each, which must be
// there.
func (r *reader) count(size int) int {
	n := uint64(binary.BigEndian.Uint32(r.take(4)))
	if r.err == nil && n*uint64(size) > uint64(len(r.b)) {
		r.err = fmt.Errorf("%d elements are announced and %d bytes are there", n, len(r.b))
	}
	if r.err != nil {
		return 0
	}
	return int(n)
}

func (r *reader) flag(b []byte) bool {
	last := b[len(b)-1]
	for _, v := range b[:len(b)-1] {
		last |= v
	}
	if last > 1 && r.err == nil {
		r.err = fmt.Errorf("%d is no flag", last)
	}
	return last == 1
}

// least is the smallest encoding of a type, in bytes.
func least(t reflect.Type) int {
	switch t.Kind() {
	case reflect.Bool, reflect.Uint8:
		return 1
	case reflect.Uint64:
		return 8
	case reflect.Array:
		return t.Len() * least(t.Elem())
	case reflect.Struct:
		n := 0
		for i := range t.NumField() {
			n += least(t.Field(i).Type)
		}
		return n
	}
	return 4
}

func (r *reader) value(v reflect.Value) {
	if r.err != nil {
		return
	}
	switch v.Kind() {
	case reflect.Bool:
		v.SetBool(r.flag(r.take(1)))
	case reflect.Uint8:
		v.SetUint(uint64(r.take(1)[0]))
	case reflect.Uint32:
		v.SetUint(uint64(binary.BigEndian.Uint32(r.take(4))))
	case reflect.Uint64:
		v.SetUint(binary.BigEndian.Uint64(r.take(8)))
	case reflect.Int32:
		v.SetInt(int64(int32(binary.BigEndian.Uint32(r.take(4)))))
	case reflect.Float32:
		// The bits of a NaN do not survive every processor's conversions.
		x := math.Float32frombits(binary.BigEndian.Uint32(r.take(4)))
		if x != x && r.err == nil {
			r.err = errors.New("a number is not a number")
		}
		v.SetFloat(float64(x))
	case reflect.String:
		v.SetString(string(r.take(r.count(1))))
	case reflect.Pointer:
		if r.flag(r.take(4)) {
			v.Set(reflect.New(v.Type().Elem()))
			r.value(v.Elem())
		}
	case reflect.Slice:
		n := r.count(least(v.Type().Elem()))
		if n == 0 {
			return
		}
		if v.Type().Elem().Kind() == reflect.Uint8 {
			v.SetBytes(append([]byte(nil), r.take(n)...))
			return
		}
		v.Set(reflect.MakeSlice(v.Type(), n, n))
		fallthrough
	case reflect.Array:
		for i := range v.Len() {
			r.value(v.Index(i))
		}
	case reflect.Struct:
		for i := range v.NumField() {
			r.value(v.Field(i))
		}
	default:
		panic("referee: no encoding of " + v.Type().String())
	}
}
