package verify

import (
	"math"

	"github.com/koinon-network/koinon/core"
)

// wagers are how many ways of betting against honesty a process has at once.
const wagers = 8

// Process bets against the hypothesis that a provider is as honest as a
// calibration (spec/statistical.md). What it holds never grows in the mean under
// the hypothesis, whatever was bet and whenever one looks: so it reaches 1/p with
// a probability of at most p, ever. The zero value has bet nothing.
//
// Each wager begins anew at every answer, with a part of the capital that all
// beginnings together do not exceed: a provider that turns dishonest late has not
// gained credit by then.
type Process struct {
	Answers uint64 `json:"answers"`
	// Log has the natural logarithm of what each wager owns.
	Log [wagers]float64 `json:"log"`
	// Peak is the greatest logarithm that their mean ever had.
	Peak float64 `json:"peak"`
}

// begin gives each wager the part of its capital that is meant for the next
// answer: 1/(n(n+1)) for the n-th.
func (p *Process) begin() {
	p.Answers++
	n := float64(p.Answers)
	part := -math.Log(n * (n + 1))
	for w, l := range p.Log {
		if p.Answers == 1 {
			p.Log[w] = part
			continue
		}
		most := max(l, part)
		p.Log[w] = most + math.Log(math.Exp(l-most)+math.Exp(part-most))
	}
}

// odds are what a process bets with, derived from a calibration.
type odds struct {
	rate       [gapBins]float64
	bet        [wagers][gapBins]float64
	more, less float64
	likelihood bool
	margins    bool
}

// leastNoise is the noise that the first wager supposes, in logits.
const leastNoise = 0.1

// odds derives the bets. Wagers 0 to 6 suppose that the provider's scores are off
// by Gaussian noise of 0.1, 0.2, 0.4, ... 6.4 logits, which reverses a gap with
// the probability of so much noise; they bet where that is more than the
// calibration allows. The last one supposes that half of the tokens are wrong.
// None of it needs to be true for the bound to hold.
func (c *Calibration) odds() *odds {
	o := &odds{rate: c.rates(), margins: c.Tokens() >= leastTokens}
	for w := range wagers {
		for b, mu := range o.rate {
			supposed := max(mu, 0.5)
			if w < wagers-1 {
				noise := leastNoise * float64(int(1)<<w)
				supposed = math.Erfc(gapOf(b)/(noise*math.Sqrt2)) / 2
			}
			o.bet[w][b] = max(0, supposed-mu) / (mu * (1 - mu))
		}
	}
	o.more, o.less, o.likelihood = c.Likelihood.drifts()
	return o
}

// Bet lets p bet on the tokens of one more answer and returns on how many it
// could. seeded says that the request's seed drove the draws.
func (c *Calibration) Bet(p *Process, standings []core.Standing, seeded bool) int {
	return p.play(c.odds(), standings, seeded)
}

// gapOf is a gap in the middle of a bin.
func gapOf(bin int) float64 {
	if bin == 0 {
		return gapEdges[0] / 2
	}
	return gapEdges[bin-1] * math.Sqrt2
}

// stakes per nat of surprise, for either direction: at the greatest possible
// loss they keep a fifth.
var stakes = [...]float64{0.0125, 0.025, 0.05}

// play bets on each token of an answer and reports how many of them it could
// bet on.
func (p *Process) play(o *odds, standings []core.Standing, seeded bool) (n int) {
	p.begin()
	for _, s := range standings {
		switch {
		case seeded && o.margins:
			b, x, ok := clipped(s)
			if !ok {
				continue
			}
			for w := range p.Log {
				p.Log[w] += math.Log1p(o.bet[w][b] * (x - o.rate[b]))
			}
		case !seeded && o.likelihood:
			y := s.Surprise - s.Expected
			for i, k := range stakes {
				p.Log[i] += math.Log1p(k * (y - o.more))
				p.Log[len(stakes)+i] += math.Log1p(k * (-y - o.less))
			}
		default:
			continue
		}
		n++
		p.Peak = max(p.Peak, p.log())
	}
	return n
}

// log is the logarithm of the wagers' mean.
func (p *Process) log() float64 {
	most := p.Log[0]
	for _, l := range p.Log {
		most = max(most, l)
	}
	sum := 0.0
	for _, l := range p.Log {
		sum += math.Exp(l - most)
	}
	return most + math.Log(sum/wagers)
}
