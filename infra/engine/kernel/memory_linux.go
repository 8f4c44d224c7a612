package kernel

import "syscall"

// mapHuge maps memory and asks for huge pages: a vector product reads all
// weights once, and small pages would cost it a tenth of its speed.
func mapHuge(size int) []byte {
	region, err := syscall.Mmap(-1, 0, size, syscall.PROT_READ|syscall.PROT_WRITE, syscall.MAP_ANON|syscall.MAP_PRIVATE)
	if err != nil {
		return nil
	}
	_ = syscall.Madvise(region, 14) // MADV_HUGEPAGE; older kernels refuse it
	return region
}

func unmap(region []byte) { _ = syscall.Munmap(region) }
