package kernel

import "unsafe"

// memory is a region for weights, aligned for the widest vectors.
type memory struct{ region []byte }

// allocate returns size zeroed bytes that live as long as m's matrix.
func (m *memory) allocate(size int) []byte {
	if size >= hugePage {
		if region := mapHuge(size); region != nil {
			m.region = region
			return region[:size:size]
		}
	}
	buf := make([]byte, size+64)
	skip := int(-uintptr(unsafe.Pointer(&buf[0])) & 63)
	return buf[skip : skip+size : skip+size]
}

// carve returns the first n elements of region as another type.
func carve[T int8 | uint8 | uint16 | float32](region []byte, n int) []T {
	var zero T
	_ = region[:n*int(unsafe.Sizeof(zero))]
	return unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(region))), n)
}

// hugePage is the size from which weights get pages of their own.
const hugePage = 2 << 20
