package kernel

// multiply sets out[t*stride+8p:][:8] to panel p times token t, for panels p0
// to p1-1, which must be whole, and all tokens.
func (m *Matrix) multiply(a *Activations, out []float32, stride, p0, p1 int) {
	if !accelerated || !m.hasKernels() {
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

// hasKernels says that there is assembly for the format.
func (m *Matrix) hasKernels() bool {
	switch m.Format {
	case F32, F16, Q8_0, Q4_0:
		return true
	}
	return false
}

func (m *Matrix) multiplyGroups(a *Activations, out []float32, stride, p0, p1, g0, g1 int) {
	kernels := &wideKernels
	if dotProduct {
		kernels = &dotKernels
	}
	group := &kernels[0]
	if m.Format == Q4_0 {
		group = &kernels[1]
	}
	size := m.layout.record * m.blocks
	for g := g0; g < g1; g++ {
		if a.tokens-g*groupTokens != 1 {
			continue
		}
		first := g * groupTokens
		at, to := first*a.blocks, &out[first*stride+p0*panelRows]
		group[1](&m.quants[p0*size], &m.scales[p0*m.blocks*panelRows], &a.quants[first*a.cols], &a.scales[at], &a.eights[at], to, m.blocks, p1-p0)
		g1--
	}
	for p := p0; p < p1; p++ {
		w, ws := &m.quants[p*size], &m.scales[p*m.blocks*panelRows]
		for g := g0; g < g1; g++ {
			first := g * groupTokens
			at := first * a.blocks
			group[min(groupTokens, a.tokens-first)](w, ws, &a.quants[first*a.cols], &a.scales[at], &a.eights[at], &out[first*stride+p*panelRows], m.blocks, stride)
		}
	}
}

// quantizedKernel is a product of one panel and a group of tokens, the results
// of a token being last elements apart; for one token, of last panels.
type quantizedKernel func(w *int8, ws *uint16, a *int8, as *float32, sums *int32, out *float32, blocks, last int)

// The kernels for Q8_0 and Q4_0 by number of tokens, for processors with and
// without SDOT.
var (
	dotKernels = [2][groupTokens + 1]quantizedKernel{
		{1: vectorQ8Dot, 2: groupQ8x2Dot, 3: groupQ8x3Dot, 4: groupQ8x4Dot},
		{1: vectorQ4Dot, 2: groupQ4x2Dot, 3: groupQ4x3Dot, 4: groupQ4x4Dot},
	}
	wideKernels = [2][groupTokens + 1]quantizedKernel{
		{1: vectorQ8Wide, 2: groupQ8x2Wide, 3: groupQ8x3Wide, 4: groupQ8x4Wide},
		{1: vectorQ4Wide, 2: groupQ4x2Wide, 3: groupQ4x3Wide, 4: groupQ4x4Wide},
	}
)

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
	plainF16 = [5][2]plainKernel[uint16]{
		1: {plainF16p4x1, plainF16p1x1},
		2: {plainF16p2x2, plainF16p1x2},
		3: {plainF16p2x3, plainF16p1x3},
		4: {plainF16p2x4, plainF16p1x4},
	}
)

func (m *Matrix) multiplyPlain(a *Activations, out []float32, stride, p0, p1 int) {
	if m.Format == F16 {
		plainTokens(&plainF16, m.halves, m.Cols, a, out, stride, p0, p1)
	} else {
		plainTokens(&plainF32, m.floats, m.Cols, a, out, stride, p0, p1)
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
