//go:build amd64 || arm64

package kernel

import "unsafe"

// multiply sets out[t*stride+8p:][:8] to panel p times token t, for panels p0
// to p1-1, which must be whole, and all tokens.
func (m *Matrix) multiply(a *Activations, out []float32, stride, p0, p1 int) {
	if !accelerated {
		m.multiplyPortable(a, out, stride, p0, p1)
		return
	}
	_ = out[(a.tokens-1)*stride+p1*panelRows-1]
	if !m.Format.Quantized() {
		m.multiplyPlain(a, out, stride, p0, p1)
		return
	}
	groups := (a.tokens + groupTokens - 1) / groupTokens
	together := max(1, cacheBytes/(groupTokens*m.Cols))
	for g0 := 0; g0 < groups; g0 += together {
		m.multiplyGroups(a, out, stride, p0, p1, g0, min(groups, g0+together))
	}
}

// quantizedKernel is the product of one panel and a group of tokens, the results
// of a token being last elements apart; for one token, of last consecutive
// panels. blocks counts 32 columns; sums is what the format needs of blockSums.
type quantizedKernel func(w *int8, fine *uint8, ws *uint16, a *int8, as *float32, sums *int32, out *float32, blocks, last int)

// tokenKernels are products by number of tokens.
type tokenKernels [groupTokens + 1]quantizedKernel

// quantizedKernels are a format's products. Those of a pair multiply two
// consecutive panels by a whole group; those that look ahead are for the first
// group to read a panel, and ask for memory early. All but tokens may be nil.
type quantizedKernels struct {
	tokens          tokenKernels
	ahead           quantizedKernel
	pair, pairAhead quantizedKernel
}

// choose returns the product of the most panels, at most that many, with a group
// of tokens, and how many panels it is.
func (k *quantizedKernels) choose(panels, tokens int, first bool) (quantizedKernel, int) {
	switch {
	case tokens < groupTokens:
	case panels > 1 && first && k.pairAhead != nil:
		return k.pairAhead, 2
	case panels > 1 && k.pair != nil:
		return k.pair, 2
	case first && k.ahead != nil:
		return k.ahead, 1
	}
	return k.tokens[tokens], 1
}

func (m *Matrix) multiplyGroups(a *Activations, out []float32, stride, p0, p1, g0, g1 int) {
	kernels, sums := kernelsFor(m.Format), a.sumsFor(m.Format)
	for g := g0; g < g1; g++ {
		if a.tokens-g*groupTokens != 1 {
			continue
		}
		first := g * groupTokens
		at := first * a.blocks
		w, fine, ws := m.sections(p0)
		kernels.tokens[1](w, fine, ws, &a.quants[first*a.cols], &a.scales[at], &sums[at], &out[first*stride+p0*panelRows], m.blocks, p1-p0)
		g1--
	}
	for p := p0; p < p1; p += 2 {
		end := min(p+2, p1)
		for g := g0; g < g1; g++ {
			first := g * groupTokens
			at := first * a.blocks
			for q, n := p, 0; q < end; q += n {
				var multiply quantizedKernel
				multiply, n = kernels.choose(end-q, min(groupTokens, a.tokens-first), g == g0)
				w, fine, ws := m.sections(q)
				multiply(w, fine, ws, &a.quants[first*a.cols], &a.scales[at], &sums[at], &out[first*stride+q*panelRows], m.blocks, stride)
			}
		}
	}
}

// sections is where panel p starts in each section.
func (m *Matrix) sections(p int) (w *int8, fine *uint8, ws *uint16) {
	w, ws = &m.quants[p*m.blocks*m.layout.record], &m.scales[m.scaleAt(p, 0, 0)]
	if m.layout.fine > 0 {
		fine = &m.fine[p*(m.blocks/blocksK)*m.layout.fine]
	}
	return w, fine, ws
}

// sumsFor are the sums of activations that products with a format need.
func (a *Activations) sumsFor(f Format) []int32 {
	switch f {
	case Q4_1, Q5_1, Q4_K, Q5_K:
		return unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(a.weighted))), len(a.weighted))
	case Q6_K:
		return a.halves
	}
	return a.eights
}

// plainKernel is a product of several panels and tokens with W weights.
type plainKernel[W any] func(w *W, x, out *float32, cols, ldx, ldo int)

// The kernels by number of tokens: several panels at a time, and one.
var (
	plainF32 = [5][2]plainKernel[float32]{
		1: {plainF32p4x1, plainF32p1x1},
		2: {plainF32p2x2, plainF32p1x2},
		3: {plainF32p2x3, plainF32p1x3},
		4: {plainF32p2x4, plainF32p1x4},
	}
	plainBF16 = [5][2]plainKernel[uint16]{
		1: {plainBF16p4x1, plainBF16p1x1},
		2: {plainBF16p2x2, plainBF16p1x2},
		3: {plainBF16p2x3, plainBF16p1x3},
		4: {plainBF16p2x4, plainBF16p1x4},
	}
	plainF16 = [5][2]plainKernel[uint16]{
		1: {plainF16p4x1, plainF16p1x1},
		2: {plainF16p2x2, plainF16p1x2},
		3: {plainF16p2x3, plainF16p1x3},
		4: {plainF16p2x4, plainF16p1x4},
	}
)

func (m *Matrix) multiplyPlain(a *Activations, out []float32, stride, p0, p1 int) {
	switch m.Format {
	case F32:
		plainTokens(&plainF32, m.floats, m.Cols, a, out, stride, p0, p1)
	case F16:
		plainTokens(&plainF16, m.halves, m.Cols, a, out, stride, p0, p1)
	case BF16:
		plainTokens(&plainBF16, m.halves, m.Cols, a, out, stride, p0, p1)
	}
}

func plainTokens[W any](kernels *[5][2]plainKernel[W], weights []W, cols int, a *Activations, out []float32, stride, p0, p1 int) {
	for p := p0; p < p1; {
		at := p * cols * panelRows
		advance := 1
		for first := 0; first < a.tokens; first += groupTokens {
			tokens := min(groupTokens, a.tokens-first)
			wide := 2
			if a.tokens == 1 {
				wide = 4
			}
			choice := kernels[tokens]
			x, to := &a.x[first*a.stride], &out[first*stride+p*panelRows]
			if p+wide > p1 {
				choice[1](&weights[at], x, to, cols, a.stride, stride)
				continue
			}
			advance = wide
			if tokens > 1 || a.tokens == 1 {
				choice[0](&weights[at], x, to, cols, a.stride, stride)
				continue
			}
			for i := range wide { // the odd token behind groups of four
				choice[1](&weights[at+i*cols*panelRows], x, &out[first*stride+(p+i)*panelRows], cols, a.stride, stride)
			}
		}
		p += advance
	}
}
