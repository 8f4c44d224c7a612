package kernel

import "unsafe"

// memory is a region for weights, aligned for the widest vectors.
type memory struct{ region []byte }

func (m *memory) allocate(size int) []byte {
	buf := make([]byte, size+64)
	skip := int(-uintptr(unsafe.Pointer(&buf[0])) & 63)
	m.region = buf[skip : skip+size : skip+size]
	return m.region
}

// carve returns the first n elements of region as another type.
func carve[T int8 | uint16 | float32](region []byte, n int) []T {
	var zero T
	_ = region[:n*int(unsafe.Sizeof(zero))]
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(region))), n)
}
