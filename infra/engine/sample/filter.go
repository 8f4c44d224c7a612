package sample

import (
	"math"
	"math/bits"
	"slices"

	"github.com/koinon-network/koinon/core"
)

const (
	micro = 1_000_000
	one   = 1 << 30 // weight of the likeliest token
)

// candidate is a token that may still be drawn.
type candidate struct {
	id     core.Token
	key    uint32 // orders logits as unsigned integers; -0 equals +0
	weight uint32 // floor(exp(l-max) * 2^30)
}

func orderKey(l float32) uint32 {
	b := math.Float32bits(l + 0) // -0 becomes +0
	if b>>31 == 1 {
		return ^b
	}
	return b | 1<<31
}

// filter applies top-k, min-p and top-p in this order; it reorders nothing.
func (d *Drawer) filter(p *core.Sampler) {
	if p.TopK > 0 && uint64(p.TopK) < uint64(len(d.cand)) {
		d.keepLeading(uint64(p.TopK), false)
	}
	if p.MinP > 0 {
		d.cand = slices.DeleteFunc(d.cand, func(c candidate) bool {
			return uint64(c.weight)*micro < uint64(p.MinP)*one
		})
	}
	if p.TopP > 0 && p.TopP < micro {
		var sum uint64
		for _, c := range d.cand {
			sum += uint64(c.weight)
		}
		// The least n with n * 10^6 >= sum * TopP.
		hi, lo := bits.Mul64(sum, uint64(p.TopP))
		n, rest := bits.Div64(hi, lo, micro)
		if rest > 0 {
			n++
		}
		d.keepLeading(n, true)
	}
}

// keepLeading keeps the shortest prefix, in the order of falling logits and
// rising ids, whose count or total weight reaches target. It is a radix select:
// three passes whatever the logits.
func (d *Drawer) keepLeading(target uint64, byWeight bool) {
	var threshold, mask uint32
	for _, digit := range [...]struct{ shift, width uint32 }{{21, 11}, {10, 11}, {0, 10}} {
		hist := d.hist[:1<<digit.width]
		clear(hist)
		low := uint32(1)<<digit.width - 1
		n := 0
		for _, c := range d.cand {
			if c.key < threshold {
				continue
			}
			d.cand[n] = c
			n++
			if c.key&mask == threshold {
				hist[c.key>>digit.shift&low] += c.measure(byWeight)
			}
		}
		d.cand = d.cand[:n]
		at := low
		for ; at > 0 && hist[at] < target; at-- {
			target -= hist[at]
		}
		threshold |= at << digit.shift
		mask |= low << digit.shift
	}
	kept := d.cand[:0]
	for _, c := range d.cand {
		switch {
		case c.key > threshold:
			kept = append(kept, c)
		case c.key == threshold && target > 0:
			target -= min(target, c.measure(byWeight))
			kept = append(kept, c)
		}
	}
	d.cand = kept
}

func (c *candidate) measure(byWeight bool) uint64 {
	if byWeight {
		return uint64(c.weight)
	}
	return 1
}
