// Package gemm multiplies float32 matrices so that the result is a function of
// the operands alone: every element of C is the sum over k, in order of k, each
// product rounded before it is added (no fused multiply-add), starting from the
// element's former value or from zero. Tile sizes, instruction sets and the
// number of workers cannot change a bit of it. Start with [NewWorkers] and
// [Workers.Mul]; use [Multiplier] for small products inside a worker's job.
package gemm

// Tile and block sizes. They steer the cache, never the result.
const (
	tileRows  = 6
	tileCols  = 16
	blockRows = 48  // rows of C per job
	blockK    = 256 // terms per pass over a block
)

// Operand is a matrix in row-major order with Stride elements between rows.
// Transposed means that the product uses the transpose of what is stored.
type Operand struct {
	Data       []float32
	Stride     int
	Transposed bool
}

// Multiplier holds the buffers of one goroutine.
type Multiplier struct {
	a, b []float32
	edge [tileRows * tileCols]float32
}

// Mul computes C = A·B, or C += A·B, for an m x k matrix A and a k x n matrix
// B, where C has cStride elements between rows.
func (x *Multiplier) Mul(c []float32, cStride int, a, b Operand, m, n, k int, accumulate bool) {
	x.b = grow(x.b, panels(n)*k*tileCols)
	for j := range panels(n) {
		packB(x.b[j*k*tileCols:][:k*tileCols], b, j*tileCols, n, k)
	}
	for lo := 0; lo < m; lo += blockRows {
		x.rows(c, cStride, a, x.b, lo, min(lo+blockRows, m), n, k, accumulate)
	}
}

// rows computes the rows lo..hi of C from the packed panels of B.
func (x *Multiplier) rows(c []float32, cStride int, a Operand, b []float32, lo, hi, n, k int, accumulate bool) {
	if !accumulate {
		for i := lo; i < hi; i++ {
			clear(c[i*cStride:][:n])
		}
	}
	full := lo + (hi-lo)/tileRows*tileRows
	pack := lo // rows from here on are read from a packed copy
	if !a.Transposed {
		pack = full
	}
	count := (hi - pack + tileRows - 1) / tileRows
	x.a = grow(x.a, count*k*tileRows)
	packA(x.a, a, pack, hi, k)
	for k0 := 0; k0 < k; k0 += blockK {
		kn := min(blockK, k-k0)
		for j := range panels(n) {
			panel := b[(j*k+k0)*tileCols:][:kn*tileCols]
			cols := min(tileCols, n-j*tileCols)
			for i := lo; i < hi; i += tileRows {
				rows := min(tileRows, hi-i)
				av, row, step := a.Data, a.Stride, 1
				if i < pack {
					av = av[i*a.Stride+k0:]
				} else {
					av, row, step = x.a[((i-pack)/tileRows*k+k0)*tileRows:], 1, tileRows
				}
				cv := c[i*cStride+j*tileCols:]
				if rows == tileRows && cols == tileCols {
					tile(av, row, step, panel, kn, cv, cStride)
					continue
				}
				e := x.edge[:]
				for r := range rows {
					copy(e[r*tileCols:][:cols], cv[r*cStride:])
				}
				tile(av, row, step, panel, kn, e, tileCols)
				for r := range rows {
					copy(cv[r*cStride:][:cols], e[r*tileCols:])
				}
			}
		}
	}
}

func panels(n int) int { return (n + tileCols - 1) / tileCols }

// packB lays columns j.. of B out as k rows of 16, zeros beyond column n.
func packB(out []float32, b Operand, j, n, k int) {
	cols := min(tileCols, n-j)
	if b.Transposed {
		if cols < tileCols {
			clear(out)
		}
		for c := range cols {
			row := b.Data[(j+c)*b.Stride:][:k]
			o := out[c:]
			for i, v := range row {
				o[i*tileCols] = v
			}
		}
		return
	}
	if cols == tileCols {
		for i := range k {
			*(*[tileCols]float32)(out[i*tileCols:]) = *(*[tileCols]float32)(b.Data[i*b.Stride+j:])
		}
		return
	}
	clear(out)
	for i := range k {
		copy(out[i*tileCols:][:cols], b.Data[i*b.Stride+j:])
	}
}

// packA lays rows lo..hi of A out in panels of k columns of 6, zeros beyond hi.
func packA(out []float32, a Operand, lo, hi, k int) {
	full := 0
	if a.Transposed {
		// Row by row of what is stored, so that a page is walked once.
		full = (hi - lo) / tileRows
		for t := range k {
			row := a.Data[t*a.Stride+lo:][:full*tileRows]
			for p := 0; len(row) > 0; p += k * tileRows {
				// Spelled out: an assignment of arrays calls memmove.
				o, v := (*[tileRows]float32)(out[p+t*tileRows:]), (*[tileRows]float32)(row)
				o[0], o[1], o[2], o[3], o[4], o[5] = v[0], v[1], v[2], v[3], v[4], v[5]
				row = row[tileRows:]
			}
		}
	}
	lo += full * tileRows
	out = out[full*k*tileRows:]
	clear(out)
	for r := range hi - lo {
		for t := range k {
			if a.Transposed {
				out[t*tileRows+r] = a.Data[t*a.Stride+lo+r]
			} else {
				out[t*tileRows+r] = a.Data[(lo+r)*a.Stride+t]
			}
		}
	}
}

func grow(b []float32, n int) []float32 {
	if cap(b) < n {
		return make([]float32, n)
	}
	return b[:n]
}
