package verify

import (
	"bytes"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/koinon-network/koinon/core"
)

// calibrationFormat and calibrationVersion begin a calibration file.
const (
	calibrationFormat  = "koinon-calibration"
	calibrationVersion = 1
	// MaxCalibration bounds such a file, in bytes.
	MaxCalibration = 1 << 20
	// leastTokens is what a calibration must have measured for each of its tests.
	leastTokens = 1000
)

// gapEdges part the gaps of tokens into bins, in logits: below 2^-7, then
// doubling up to 8 and more.
var gapEdges = [...]float64{1. / 128, 1. / 64, 1. / 32, 1. / 16, 1. / 8, 1. / 4, 1. / 2, 1, 2, 4, 8}

const gapBins = len(gapEdges) + 1

// Calibration is how far the answers of an honest back end are from the
// reference (spec/statistical.md): for one model, one weight format and one
// program. Whoever audits measures it on an installation that it trusts.
type Calibration struct {
	Format    string       `json:"format"`
	Version   int          `json:"version"`
	Model     core.ModelID `json:"model"`
	Semantics uint32       `json:"semantics"` // the reference's
	ModelName string       `json:"model_name"`
	// Backend and Weights are for people: the program and its weight format.
	Backend string    `json:"backend"`
	Weights string    `json:"weights"`
	Made    time.Time `json:"made"`
	Answers int       `json:"answers"`
	// Margins has one element per bin of gaps.
	Margins []MarginBin `json:"margins"`
	// Likelihood is of tokens that the server drew at a temperature.
	Likelihood Likelihood `json:"likelihood"`
}

// MarginBin sums the clipped margins of the tokens whose gaps are in a bin.
type MarginBin struct {
	From   float64 `json:"gap_from"` // logits
	Tokens uint64  `json:"tokens"`
	Sum    float64 `json:"sum"` // of clipped margins, each 0 to 1
}

// Likelihood sums by how much tokens surprised more than expected, in nats.
type Likelihood struct {
	Tokens  uint64  `json:"tokens"`
	Sum     float64 `json:"sum"`
	Squares float64 `json:"squares"`
}

// NewCalibration starts a measurement.
func NewCalibration(info core.ModelInfo, backend, weights string, made time.Time) *Calibration {
	c := &Calibration{Format: calibrationFormat, Version: calibrationVersion, Model: info.ID, Semantics: info.Semantics, ModelName: info.Name,
		Backend: backend, Weights: weights, Made: made.UTC().Truncate(time.Second), Margins: make([]MarginBin, gapBins)}
	for i, e := range gapEdges {
		c.Margins[i+1].From = e
	}
	return c
}

// Add measures one answer; seeded says that the request's seed drove its draws.
func (c *Calibration) Add(standings []core.Standing, seeded bool) {
	c.Answers++
	for _, s := range standings {
		if !seeded {
			y := s.Surprise - s.Expected
			c.Likelihood.Tokens++
			c.Likelihood.Sum += y
			c.Likelihood.Squares += y * y
			continue
		}
		if b, x, ok := clipped(s); ok {
			c.Margins[b].Tokens++
			c.Margins[b].Sum += x
		}
	}
}

// clipped is the bin of a token's gap and its margin as a share of the bin's
// upper end, at most 1. A token that is not the reference's own is worth at
// least a half in its bin, since no margin is below the gap. Where the filters
// leave open which token is the reference's own, there is no gap, and nothing to
// be said.
func clipped(s core.Standing) (bin int, x float64, ok bool) {
	if s.Gap <= 0 {
		return 0, 0, false
	}
	for bin < len(gapEdges) && s.Gap >= gapEdges[bin] {
		bin++
	}
	return bin, min(1, s.Margin/gapEdges[min(bin, len(gapEdges)-1)]), true
}

// Tokens counts what was measured for margins.
func (c *Calibration) Tokens() (n uint64) {
	for _, b := range c.Margins {
		n += b.Tokens
	}
	return n
}

// ID is the digest of the file's content.
func (c *Calibration) ID() core.Hash {
	js, _ := json.Marshal(c)
	return sha256.Sum256(js)
}

// Encode writes the file.
func (c *Calibration) Encode() ([]byte, error) {
	js, err := json.MarshalIndent(c, "", "  ")
	return append(js, '\n'), err
}

// ParseCalibration reads a calibration file. It fails with CodeInvalid.
func ParseCalibration(r io.Reader) (*Calibration, error) {
	bad := func(format string, args ...any) (*Calibration, error) {
		return nil, &core.Error{Code: core.CodeInvalid, Message: "this is no calibration that can be used", Err: fmt.Errorf(format, args...), Next: "measure one with koinon calibrate"}
	}
	b, err := io.ReadAll(io.LimitReader(r, MaxCalibration+1))
	if err != nil {
		return nil, err
	}
	if len(b) > MaxCalibration {
		return bad("it is larger than 1 MiB")
	}
	var head struct {
		Format  string `json:"format"`
		Version int    `json:"version"`
	}
	if err := json.Unmarshal(b, &head); err != nil || head.Format != calibrationFormat {
		return bad("it does not begin as one: %w", errors.Join(err, fmt.Errorf("the format is %.40q", head.Format)))
	}
	if head.Version != calibrationVersion {
		return bad("it has version %d, this program knows version %d", head.Version, calibrationVersion)
	}
	c := &Calibration{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(c); err != nil {
		return bad("%w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return bad("something follows it in the file")
	}
	if err := c.check(); err != nil {
		return bad("%w", err)
	}
	return c, nil
}

func (c *Calibration) check() error {
	if len(c.Margins) != gapBins {
		return fmt.Errorf("it has %d bins instead of %d", len(c.Margins), gapBins)
	}
	if !core.KnownSemantics(c.Semantics) || core.TierOf(c.Semantics) != core.TierExact {
		return fmt.Errorf("semantics %d are no reference's", c.Semantics)
	}
	if len(c.ModelName) > MaxText || len(c.Backend) > MaxText || len(c.Weights) > MaxText {
		return errors.New("a name is too long")
	}
	const most = 1 << 40 // tokens
	for i, b := range c.Margins {
		if i > 0 && b.From != gapEdges[i-1] || i == 0 && b.From != 0 {
			return fmt.Errorf("bin %d begins at %g", i, b.From)
		}
		if b.Tokens > most || !(b.Sum >= 0 && b.Sum <= float64(b.Tokens)) {
			return fmt.Errorf("bin %d sums to %g over %d tokens", i, b.Sum, b.Tokens)
		}
	}
	l, bound := c.Likelihood, float64(core.MaxSurprise)
	n := float64(l.Tokens)
	if l.Tokens > most || !(math.Abs(l.Sum) <= n*bound) || !(l.Squares >= 0 && l.Squares <= n*bound*bound) {
		return fmt.Errorf("likelihoods sum to %g and %g over %d tokens", l.Sum, l.Squares, l.Tokens)
	}
	if c.Tokens() < leastTokens && l.Tokens < leastTokens {
		return fmt.Errorf("it measured %d tokens; %d are needed", c.Tokens()+l.Tokens, leastTokens)
	}
	return nil
}

// Of a measurement, the bound of a bin holds with all but this probability.
const doubt = 1e-2

// allowance is by how much the rates of other prompts than those measured may
// be larger.
const allowance = 1.5

// mostRate is a rate above which no bin is bounded.
const mostRate = 0.95

// rates bounds the mean clipped margin of honest tokens in each bin, on the
// premise that the mean falls as the gap grows: then a bin's is at most the mean
// over it and any number of bins before it, of which the best bound counts.
func (c *Calibration) rates() (mu [gapBins]float64) {
	least := mostRate
	for last := range c.Margins {
		tokens, sum := 0.0, 0.0
		for first := last; first >= 0; first-- {
			tokens += float64(c.Margins[first].Tokens)
			sum += c.Margins[first].Sum
			if tokens > 0 {
				least = min(least, allowance*above(sum/tokens, tokens, doubt/float64(gapBins)))
			}
		}
		mu[last] = least
	}
	return mu
}

// above is the largest mean of numbers between 0 and 1 under which n of them
// average at most p with that probability (Chernoff's bound).
func above(p, n, probability float64) float64 {
	lo, hi := p, 1.0
	for range 60 {
		mid := (lo + hi) / 2
		if n*divergence(p, mid) <= math.Log(1/probability) {
			lo = mid
		} else {
			hi = mid
		}
	}
	return hi
}

// divergence is the relative entropy of two coins.
func divergence(p, q float64) float64 {
	d := 0.0
	if p > 0 {
		d += p * math.Log(p/q)
	}
	if p < 1 {
		d += (1 - p) * math.Log((1-p)/(1-q))
	}
	return d
}

// drifts bounds by how much honest tokens surprise more than expected in the
// mean, and less (Bernstein's empirical bound); false where too few were
// measured.
func (l Likelihood) drifts() (more, less float64, ok bool) {
	if l.Tokens < leastTokens {
		return 0, 0, false
	}
	n := float64(l.Tokens)
	mean := l.Sum / n
	variance := max(0, l.Squares/n-mean*mean)
	ln := math.Log(2 / doubt)
	d := allowance * (math.Sqrt(2*variance*ln/n) + 7*2*core.MaxSurprise*ln/(3*(n-1)))
	return min(mean+d, core.MaxSurprise), min(d-mean, core.MaxSurprise), true
}
