package kernel

import (
	"fmt"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

// groupTokens is how many tokens a matrix product handles per pass over a
// weight panel.
const groupTokens = 4

// Activations is the input of matrix products: some tokens' rows, quantised
// once and shared by all matrices that multiply them. Reset it, Set every
// token, then use it in any number of products. Its buffers are reused.
type Activations struct {
	tokens, cols, blocks int

	x      []float32 // the caller's rows, for unquantised weights
	stride int

	// Quantised, in groups of up to 4 tokens: group g starts at token 4g and
	// holds size = min(4, tokens-4g) of them.
	quants []int8    // [group][block][8][size][4]
	scales []float32 // [group][block][size]
	blockSums
}

// blockSums are sums of each block's quants, all [group][block][size], for
// formats whose packed weights are off by a constant or have minima.
type blockSums struct {
	eights   []int32   // 8 * sum: Q4_0 and Q5_0
	halves   []int32   // sum of the first 16 in the lower 16 bits, of the others in the upper: Q6_K
	weighted []float32 // spec.BlockSum: formats with minima
}

func (s *blockSums) resize(n int) {
	s.eights, s.halves, s.weighted = sized(s.eights, n), sized(s.halves, n), sized(s.weighted, n)
}

// from is the sums from element i on.
func (s *blockSums) from(i int) blockSums {
	return blockSums{s.eights[i:], s.halves[i:], s.weighted[i:]}
}

// Reset prepares for tokens rows of cols values read from x, row t starting at
// x[t*stride]. Quantised copies are made by Set; products with F16 and F32
// weights read x itself, which must stay unchanged until the last product.
func (a *Activations) Reset(x []float32, stride, tokens, cols int) {
	if tokens > 0 && len(x) < (tokens-1)*stride+cols {
		panic(fmt.Sprintf("kernel: %d rows of %d with stride %d in %d elements", tokens, cols, stride, len(x)))
	}
	a.x, a.stride = x, stride
	a.tokens, a.cols, a.blocks = tokens, cols, 0
	if cols%spec.Block == 0 {
		a.blocks = cols / spec.Block
	}
	a.quants = sized(a.quants, tokens*a.blocks*spec.Block)
	a.scales = sized(a.scales, tokens*a.blocks)
	a.blockSums.resize(tokens * a.blocks)
}

// Tokens is the number of rows.
func (a *Activations) Tokens() int { return a.tokens }

// Set quantises rows t0 to t1-1 from x. Calls for distinct rows may run
// concurrently. It does nothing where cols is not a multiple of 32: such a
// matrix is never quantised.
func (a *Activations) Set(t0, t1 int) {
	for t := t0; t < t1; t++ {
		a.setBlocks(t, 0, a.blocks)
	}
}

// Quantize is Reset and Set in one, spread over the pool.
func (a *Activations) Quantize(p *Pool, x []float32, stride, tokens, cols int) {
	a.Reset(x, stride, tokens, cols)
	p.Run(tokens, groupTokens, a.Set)
}

// setBlocks quantises blocks b0 to b1-1 of row t.
func (a *Activations) setBlocks(t, b0, b1 int) {
	first := t / groupTokens * groupTokens
	lane, size := t-first, min(groupTokens, a.tokens-first)
	row := a.x[t*a.stride:]
	quants := a.quants[first*a.cols:]
	at := first*a.blocks + b0*size + lane
	quantize(row[b0*spec.Block:b1*spec.Block], quants[b0*spec.Block*size+4*lane:], a.scales[at:], a.blockSums.from(at), b1-b0, size)
}

// sized returns a slice of length n, reusing s where it is large enough.
func sized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n, n+n/4)
	}
	return s[:n]
}
