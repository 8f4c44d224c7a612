//go:build !amd64 && !arm64

package gemm

var accelerated = false

func tile(a []float32, row, step int, b []float32, k int, c []float32, cRow int) {
	tilePortable(a, row, step, b, k, c, cRow)
}
