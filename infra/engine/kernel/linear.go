package kernel

import (
	"fmt"
	"runtime"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

// cacheBytes bounds the quantised activations that one pass over a weight
// panel touches, so that they stay in the second-level cache.
const cacheBytes = 200 << 10

// Product is one matrix applied to shared activations: row t of the result
// starts at Out[t*Stride] and has W.Rows values.
type Product struct {
	W      *Matrix
	Out    []float32
	Stride int
}

// Linear computes out[t*stride+r] = sum over c of w[r][c] * x[t][c] for all
// tokens of a.
func Linear(p *Pool, out []float32, stride int, w *Matrix, a *Activations) {
	Linears(p, a, Product{w, out, stride})
}

// Linears computes several products of the same activations in one parallel
// step, e.g. query, key and value.
func Linears(p *Pool, a *Activations, products ...Product) {
	if a.tokens == 0 {
		return
	}
	total, weight := 0, 0
	for _, product := range products {
		product.check(a)
		total += product.W.panels
		weight += product.W.Bytes()
	}
	p.Run(total, chunkPanels(p, total, weight), func(lo, hi int) {
		start := 0
		for _, product := range products {
			end := start + product.W.panels
			if lo < end && hi > start {
				product.run(a, max(lo, start)-start, min(hi, end)-start)
			}
			start = end
		}
	})
}

// Activation sets gate[i] = f(gate[i]) * up[i] for the nonlinearity f of a gated
// feed-forward layer: [SiLUMul] or [GELUMul].
type Activation func(gate, up []float32)

// GatedLinear computes the first half of a gated feed-forward layer: row t of
// hidden, starting at hidden[t*stride], becomes f(gate x) * (up x), and dst
// the quantised hidden. up's product needs scratch, shaped like hidden.
func GatedLinear(p *Pool, f Activation, dst *Activations, hidden, scratch []float32, stride int, gate, up *Matrix, a *Activations) {
	if gate.Rows != up.Rows {
		panic("kernel: gate and up differ in rows")
	}
	rows, tokens := gate.Rows, a.tokens
	dst.Reset(hidden, stride, tokens, rows)
	if tokens == 0 {
		return
	}
	g, u := Product{gate, hidden, stride}, Product{up, scratch, stride}
	g.check(a)
	u.check(a)
	const align = spec.Block / panelRows // whole blocks of dst per chunk
	chunk := chunkPanels(p, gate.panels, gate.Bytes()+up.Bytes())
	chunk = (chunk + align - 1) / align * align
	p.Run(gate.panels, chunk, func(lo, hi int) {
		g.run(a, lo, hi)
		u.run(a, lo, hi)
		c0, c1 := lo*panelRows, min(hi*panelRows, rows)
		for t := range tokens {
			f(hidden[t*stride+c0:t*stride+c1], scratch[t*stride+c0:t*stride+c1])
			if dst.blocks > 0 {
				dst.setBlocks(t, c0/spec.Block, c1/spec.Block)
			}
		}
	})
}

// chunkPanels chooses how many panels a thread takes at a time: enough chunks
// to even out threads of unequal speed, but not less than about 32 KiB.
func chunkPanels(p *Pool, panels, bytes int) int {
	threads := p.Threads()
	if threads == 1 {
		return panels
	}
	least := max(1, (32<<10)*panels/max(1, bytes))
	return max(least, (panels+8*threads-1)/(8*threads))
}

func (product *Product) check(a *Activations) {
	w := product.W
	if w.Cols != a.cols {
		panic(fmt.Sprintf("kernel: a matrix of %d columns times %d values", w.Cols, a.cols))
	}
	if product.Stride < w.Rows && a.tokens > 1 || len(product.Out) < (a.tokens-1)*product.Stride+w.Rows {
		panic(fmt.Sprintf("kernel: %d x %d results with stride %d in %d elements", a.tokens, w.Rows, product.Stride, len(product.Out)))
	}
}

// run computes panels p0 to p1-1 for all tokens.
func (product *Product) run(a *Activations, p0, p1 int) {
	w := product.W
	whole := min(p1, w.Rows/panelRows)
	if p0 < whole {
		w.multiply(a, product.Out, product.Stride, p0, whole)
	}
	if whole < p1 && p1 == w.panels {
		product.runLast(a)
	}
	runtime.KeepAlive(w)
}

// runLast computes a last panel that is only partly real, through a buffer.
func (product *Product) runLast(a *Activations) {
	w := product.W
	first := (w.panels - 1) * panelRows
	buf := make([]float32, a.tokens*panelRows)
	w.panel(w.panels-1).multiply(a, buf, panelRows, 0, 1)
	for t := range a.tokens {
		copy(product.Out[t*product.Stride+first:t*product.Stride+w.Rows], buf[t*panelRows:])
	}
}
