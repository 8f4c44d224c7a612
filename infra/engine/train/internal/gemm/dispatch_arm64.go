package gemm

import "github.com/koinon-network/koinon/infra/engine/kernel"

var accelerated = kernel.InstructionSet() != kernel.Portable

func tile(a []float32, row, step int, b []float32, k int, c []float32, cRow int) {
	if !accelerated {
		tilePortable(a, row, step, b, k, c, cRow)
		return
	}
	_ = a[(tileRows-1)*row+(k-1)*step]
	_ = b[k*tileCols-1]
	_ = c[(tileRows-1)*cRow+tileCols-1]
	tileNEON(&a[0], uintptr(4*row), uintptr(4*step), &b[0], k, &c[0], uintptr(4*cRow))
}

// tileNEON is tileAVX for arm64. k is positive.
//
//go:noescape
func tileNEON(a *float32, aRow uintptr, aStep uintptr, b *float32, k int, c *float32, cRow uintptr)
