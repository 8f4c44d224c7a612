package sample

import (
	"math"
	"math/bits"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/kernel"
)

// race finds the candidate with the greatest score
// floor((l-max) * 2^24) * 10^6 + temperature * Gumbel, the lowest id winning a
// tie. Noise is computed only for tokens that could still win.
type race struct {
	max         float32
	temperature int64
	key         [8]uint32

	block  [blockTokens]uint32
	loaded int64 // number of the block, -1 for none

	best  core.Token
	score int64
	// limit[n] lies a little below every l-max with which a token can win whose
	// word's complement has n leading zeros; limit[32] serves all words.
	limit [33]float32
}

func (r *race) start(top float32, temperature uint32, seed core.Seed, position uint32) {
	r.max, r.temperature, r.loaded = top, int64(temperature), -1
	r.best, r.score = -1, math.MinInt64
	if temperature > 0 {
		r.key = noiseKey(seed, position)
	}
}

// fixed returns floor(x * 2^24) for |x| < 2^39.
func fixed(x float32) int64 {
	y := x * (1 << 24)
	n := int64(y)
	if float32(n) > y {
		n--
	}
	return n
}

// enterAll enters the whole vocabulary. The limits, rough but cheap, spare most
// tokens the exact comparison.
func (r *race) enterAll(logits []float32) {
	for first := 0; first < len(logits); first += stretch {
		ls := logits[first:min(first+stretch, len(logits))]
		if !(kernel.Greatest(ls)-r.max < r.limit[32]) {
			r.enterStretch(first, ls)
		}
	}
}

// enterStretch enters the tokens from first on, a multiple of blockTokens.
func (r *race) enterStretch(first int, logits []float32) {
	for at := 0; at < len(logits); at += blockTokens {
		ls := logits[at:min(at+blockTokens, len(logits))]
		if kernel.Greatest(ls)-r.max < r.limit[32] {
			continue
		}
		r.load(int64((first + at) / blockTokens))
		for i, l := range ls {
			if x := l - r.max; x >= r.limit[bits.LeadingZeros32(^r.block[i])] {
				r.enter(core.Token(first+at+i), x)
			}
		}
	}
}

func (r *race) load(block int64) {
	if block != r.loaded && r.temperature > 0 {
		chacha8(&r.block, &r.key, uint32(block))
		r.loaded = block
	}
}

func (r *race) enter(t core.Token, x float32) {
	if !(x >= -window) || r.best >= 0 && x < r.limit[32] {
		return
	}
	score := fixed(x) * micro
	if r.temperature > 0 {
		r.load(int64(t) / blockTokens)
		u := r.block[t%blockTokens]
		if score+r.temperature*gumbelBound(u) < r.score {
			return
		}
		score += r.temperature * Gumbel(u)
	}
	if score > r.score || score == r.score && t < r.best {
		r.best, r.score = t, score
		r.setLimits()
	}
}

func (r *race) setLimits() {
	const unit, margin = micro << 24, 1e-3
	for n := range r.limit {
		bound := int64(gumbelMax)
		if n < 32 {
			bound = gumbelBound(^(uint32(1) << 31 >> n))
		}
		r.limit[n] = float32(float64(r.score-r.temperature*bound)/unit - margin)
	}
}
