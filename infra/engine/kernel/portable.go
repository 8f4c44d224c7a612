package kernel

import (
	"math"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

// The portable forms of the operators, on packed data.

// quantizePortable quantises blocks of x for one token of a group of size:
// block b's quant i goes to q[b*32*size + i/4*4*size + i%4], its scale to
// scales[b*size], its sums likewise.
func quantizePortable(x []float32, q []int8, scales []float32, sums blockSums, blocks, size int) {
	var block [spec.Block]int8
	for b := range blocks {
		scale := spec.Quantize(block[:], x[b*spec.Block:(b+1)*spec.Block])
		var half [2]int32
		for i, v := range block {
			q[(b*8+i/4)*4*size+i%4] = v
			half[i/16] += int32(v)
		}
		scales[b*size] = scale
		sums.eights[b*size] = 8 * (half[0] + half[1])
		sums.halves[b*size] = half[0]&0xffff | half[1]<<16
		sums.weighted[b*size] = spec.BlockSum(block[:], scale)
	}
}

func (m *Matrix) multiplyPortable(a *Activations, out []float32, stride, p0, p1 int) {
	for p := p0; p < p1; p++ {
		for t := range a.tokens {
			dst := (*[panelRows]float32)(out[t*stride+p*panelRows:])
			switch m.Format {
			case F32:
				panelF32(dst, m.floats[p*m.Cols*panelRows:], a.x[t*a.stride:t*a.stride+m.Cols])
			case F16:
				panelHalves(dst, m.halves[p*m.Cols*panelRows:], a.x[t*a.stride:t*a.stride+m.Cols], spec.HalfToFloat)
			case BF16:
				panelHalves(dst, m.halves[p*m.Cols*panelRows:], a.x[t*a.stride:t*a.stride+m.Cols], spec.BrainToFloat)
			case Q8_0:
				m.panelQ8(dst, a, t, p)
			case Q4_0:
				m.panelQ4(dst, a, t, p)
			default:
				m.panelQuantized(dst, a, t, p)
			}
		}
	}
}

// token returns the group layout of one token: its quants are at
// quants[block*32*size + column/4*4*size + column%4].
func (a *Activations) token(t int) (quants []int8, scales, weighted []float32, size int) {
	first := t / groupTokens * groupTokens
	size = min(groupTokens, a.tokens-first)
	lane := t - first
	at := first*a.blocks + lane
	return a.quants[first*a.cols+4*lane:], a.scales[at:], a.weighted[at:], size
}

func (m *Matrix) panelQ8(dst *[panelRows]float32, a *Activations, t, p int) {
	quants, scales, _, size := a.token(t)
	var acc [panelRows]float32
	for b := range m.blocks {
		var sum [panelRows]int32
		w := m.quants[(p*m.blocks+b)*256:]
		for g := range 8 {
			x := (*[4]int8)(quants[(b*8+g)*4*size:])
			x0, x1, x2, x3 := int32(x[0]), int32(x[1]), int32(x[2]), int32(x[3])
			wg := (*[32]int8)(w[g*32:])
			for r := range panelRows {
				sum[r] += int32(wg[4*r])*x0 + int32(wg[4*r+1])*x1 + int32(wg[4*r+2])*x2 + int32(wg[4*r+3])*x3
			}
		}
		m.accumulate(&acc, &sum, p, b, scales[b*size])
	}
	*dst = acc
}

func (m *Matrix) panelQ4(dst *[panelRows]float32, a *Activations, t, p int) {
	quants, scales, _, size := a.token(t)
	var acc [panelRows]float32
	for b := range m.blocks {
		var sum [panelRows]int32
		w := m.quants[(p*m.blocks+b)*128:]
		for g := range 4 {
			lo := (*[4]int8)(quants[(b*8+g)*4*size:])
			hi := (*[4]int8)(quants[(b*8+g+4)*4*size:])
			wg := (*[32]int8)(w[g*32:])
			for r := range panelRows {
				for i := range 4 {
					v := uint8(wg[4*r+i])
					sum[r] += (int32(v&15)-8)*int32(lo[i]) + (int32(v>>4)-8)*int32(hi[i])
				}
			}
		}
		m.accumulate(&acc, &sum, p, b, scales[b*size])
	}
	*dst = acc
}

func (m *Matrix) accumulate(acc *[panelRows]float32, sum *[panelRows]int32, p, b int, scale float32) {
	ws := (*[panelRows]uint16)(m.scales[(p*m.blocks+b)*panelRows:])
	for r, s := range sum {
		acc[r] += float32(float32(s) * float32(spec.HalfToFloat(ws[r])*scale))
	}
}

// panelQuantized is the product of one panel and one token for all formats that
// have no form of their own.
func (m *Matrix) panelQuantized(dst *[panelRows]float32, a *Activations, t, p int) {
	quants, scales, weighted, size := a.token(t)
	var w [spec.Block][panelRows]int32
	var acc, u, v [panelRows]float32
	for b := range m.blocks {
		m.unpack(&w, p, b)
		var half [2][panelRows]int32
		for c := range w {
			x := int32(quants[(b*8+c/4)*4*size+c%4])
			sum, wc := &half[c/16], &w[c]
			for r := range panelRows {
				sum[r] += wc[r] * x
			}
		}
		if m.layout.fine == 0 {
			m.addBlock(&acc, &half, p, b, scales[b*size], weighted[b*size])
			continue
		}
		fine := m.fineScales(p, b/blocksK)
		for r := range panelRows {
			i := b%blocksK*panelRows + r
			if m.Format == Q6_K {
				i = 2*i - r
				sum := int32(int8(fine[i]))*half[0][r] + int32(int8(fine[i+panelRows]))*half[1][r]
				u[r] += float32(float32(sum) * scales[b*size])
				continue
			}
			u[r] += float32(float32(int32(fine[i])*(half[0][r]+half[1][r])) * scales[b*size])
			v[r] += float32(float32(fine[64+i]) * weighted[b*size])
		}
		if b%blocksK == blocksK-1 {
			m.addSuperblock(&acc, &u, &v, p, b/blocksK)
		}
	}
	*dst = acc
}

// addBlock adds the product of a block of 32 columns.
func (m *Matrix) addBlock(acc *[panelRows]float32, half *[2][panelRows]int32, p, b int, scale, weighted float32) {
	for r := range panelRows {
		weight := spec.HalfToFloat(m.scales[m.scaleAt(p, b, 0)+r])
		product := float32(float32(half[0][r]+half[1][r]) * float32(weight*scale))
		if m.layout.scales == 2 {
			product += float32(spec.HalfToFloat(m.scales[m.scaleAt(p, b, 1)+r]) * weighted)
		}
		acc[r] += product
	}
}

// addSuperblock adds the product of 256 columns and clears u and v.
func (m *Matrix) addSuperblock(acc, u, v *[panelRows]float32, p, b int) {
	for r := range panelRows {
		product := float32(spec.HalfToFloat(m.scales[m.scaleAt(p, b, 0)+r]) * u[r])
		if m.layout.scales == 2 {
			product -= float32(spec.HalfToFloat(m.scales[m.scaleAt(p, b, 1)+r]) * v[r])
		}
		acc[r] += product
	}
	*u, *v = [panelRows]float32{}, [panelRows]float32{}
}

func panelF32(dst *[panelRows]float32, w, x []float32) {
	var acc [panelRows]float32
	for c, v := range x {
		wc := (*[panelRows]float32)(w[c*panelRows:])
		for r := range panelRows {
			acc[r] += float32(wc[r] * v)
		}
	}
	*dst = acc
}

func panelHalves(dst *[panelRows]float32, w []uint16, x []float32, widen func(uint16) float32) {
	var acc [panelRows]float32
	for c, v := range x {
		wc := (*[panelRows]uint16)(w[c*panelRows:])
		for r := range panelRows {
			acc[r] += float32(widen(wc[r]) * v)
		}
	}
	*dst = acc
}

// scoresPortable sets scores[g*ld+p] for panels of 8 keys [panel][dim][8].
func scoresPortable(scores []float32, ld int, q []float32, heads, dim int, keys []float32, panels int, scale float32) {
	for g := range heads {
		qg := q[g*dim : (g+1)*dim]
		for p := range panels {
			var acc [8]float32
			for d, v := range qg {
				k := (*[8]float32)(keys[(p*dim+d)*8:])
				for i := range 8 {
					acc[i] += float32(v * k[i])
				}
			}
			for i, v := range acc {
				scores[g*ld+p*8+i] = float32(v * scale)
			}
		}
	}
}

// mixPortable adds weights[g*ld+p] * values[p][...] to dst[g], over n positions.
func mixPortable(dst []float32, weights []float32, ld, heads, dim int, values []float32, n int) {
	for g := range heads {
		spec.AttentionMixStep(dst[g*dim:(g+1)*dim], weights[g*ld:g*ld+n], values, dim)
	}
}

// inf is the score of a key that must not count.
var inf = math.Float32frombits(0xff800000)

func expPortable(x []float32) {
	for i, v := range x {
		x[i] = spec.Exp(v)
	}
}

func scalePortable(x []float32, factor float32) {
	for i, v := range x {
		x[i] = float32(v * factor)
	}
}

func greatestPortable(x []float32) float32 {
	most := float32(math.Inf(-1))
	for _, v := range x {
		if v > most {
			most = v
		}
	}
	return most
}
