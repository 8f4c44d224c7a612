package kernel

import "github.com/koinon-network/koinon/infra/engine/spec"

// The portable forms of attention over int8 pages.

// scoreQuantsPortable sets dst[g*ld+p] for panels of 8 keys
// [panel][dim/4][8][4] with scales [panel][block][8].
func scoreQuantsPortable(dst []float32, ld int, q []int8, qScales []float32, heads, blocks int, keys []int8, scales []float32, panels int, scale float32) {
	dim := blocks * spec.Block
	for g := range heads {
		for p := range panels {
			var acc [8]float32
			for b := range blocks {
				x := q[g*dim+b*spec.Block:][:spec.Block]
				k := keys[(p*blocks+b)*256:][:256]
				var sum [8]int32
				for i, v := range x {
					four := k[i/4*32+i%4:]
					for lane := range 8 {
						sum[lane] += int32(four[4*lane]) * int32(v)
					}
				}
				by := scales[(p*blocks+b)*8:][:8]
				for lane, s := range sum {
					acc[lane] += float32(float32(s) * float32(by[lane]*qScales[g*blocks+b]))
				}
			}
			for lane, v := range acc {
				dst[g*ld+p*8+lane] = float32(v * scale)
			}
		}
	}
}

// weighQuantsPortable quantises weights times value scales [block][64]: the
// quants go to u[block][64] and the scales of each 32 to us[block][2].
func weighQuantsPortable(u []int8, us, weights, scales []float32, blocks int) {
	var x [spec.Block]float32
	for b := range blocks {
		for half := range 2 {
			for p := range x {
				x[p] = spec.AttentionWeight8(weights[half*spec.Block+p], scales[b*PageTokens+half*spec.Block+p])
			}
			us[2*b+half] = spec.Quantize(u[b*PageTokens+half*spec.Block:][:spec.Block], x[:])
		}
	}
}

// mixQuantsPortable adds a page of values [dim/8][2][8][8][4] to dst[g*dim:].
func mixQuantsPortable(dst []float32, heads, blocks int, u []int8, us []float32, values []int8) {
	dim := blocks * spec.Block
	for g := range heads {
		for d := range dim {
			b := d / spec.Block
			at := (g*blocks + b)
			acc := dst[g*dim+d]
			for half := range 2 {
				v := values[d/8*512+half*256+d%8*4:]
				sum := int32(0)
				for p, w := range u[at*PageTokens+half*spec.Block:][:spec.Block] {
					sum += int32(w) * int32(v[p/4*32+p%4])
				}
				acc += float32(float32(sum) * us[2*at+half])
			}
			dst[g*dim+d] = acc
		}
	}
}
