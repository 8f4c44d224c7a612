package referee

import (
	"errors"
	"fmt"
	"math"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/commit"
	"github.com/koinon-network/koinon/infra/engine/sample"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// TokenClaim says that another token should have been drawn.
type TokenClaim struct {
	Output  uint32      // output position
	Given   core.Token  // the token in the answer
	Path    []core.Hash // its place among the output tokens
	Better  core.Token  // a token that wins against it
	Sampler core.Sampler
	Seed    core.Seed
	Request Opening
}

// Shown is a token with what its chances follow from.
type Shown struct {
	Token core.Token
	Logit float32     // the model's own
	Seen  sample.Seen // zero where the sampler has no penalties
}

// Claims open the defence of a token: the normalised residual stream, the
// numbers that decide the draw, and what the filters' last tokens follow from.
type Claims struct {
	Norm core.Hash
	Leaf Boundary // leaf (t,L)
	Top  Shown    // of the greatest adjusted logit
	// Given is the token in the answer, Better the challenger's.
	Given, Better Shown
	// K and P are the last tokens that top-k and top-p leave, if they cut.
	K, P *Shown
	Sums []sample.Sum // of the runs of the vocabulary's tiles, where one of them may
}

// Draw is a draw in question: what was said of it, and at what the challenger
// points.
type Draw struct {
	Claims  Claims
	Lo, Hi  uint32     // tiles of the vocabulary
	Sum     sample.Sum // said of them
	Tile    *Logits    // shown of a single one
	Unnamed sample.Seen
	Count   *PickCount
	Occurs  uint32 // said of the count, in the run of positions in question
}

// PickLogit names the token whose logit is wrong, or whose adjusted logit
// exceeds the one that is said to be the greatest.
type PickLogit struct{ Token core.Token }

// PickCount names a token that occurs more or less often than was said.
type PickCount struct {
	Token  core.Token
	Answer bool // in the answer, or in the prompt
}

// PickSum names the first run of tiles whose sum is wrong.
type PickSum struct{ Run uint32 }

// Sums divide the sum in question among shorter runs.
type Sums struct{ Sums []sample.Sum }

// Logits show the tile of the vocabulary in question.
type Logits struct {
	Values []float32 // the model's own logits
	// Seen are the tokens of the tile that occur, in rising order; none where the
	// sampler has no penalties.
	Seen []TokenSeen
}

// TokenSeen says how often a token occurs before the draw.
type TokenSeen struct {
	Token core.Token
	Seen  sample.Seen
}

// Counts divide the count in question among shorter runs of positions.
type Counts struct{ Counts []uint32 }

func (*PickCount) side() Side { return Challenger }
func (*PickSum) side() Side   { return Challenger }
func (*Sums) side() Side      { return Provider }
func (*Logits) side() Side    { return Provider }
func (*Counts) side() Side    { return Provider }

func (*PickCount) tag() uint8 { return 20 }
func (*PickSum) tag() uint8   { return 21 }
func (*Sums) tag() uint8      { return 22 }
func (*Logits) tag() uint8    { return 23 }
func (*Counts) tag() uint8    { return 24 }

func (s *State) openToken(m *Model, r *core.Receipt, t *TokenClaim) error {
	switch {
	case t.Sampler.Digest() != r.Sampler:
		return errors.New("the sampler is not the receipt's")
	case t.Seed.Commitment() != r.Seed:
		return errors.New("the seed is not the receipt's")
	case t.Output >= r.Output:
		return fmt.Errorf("there is no output token %d of %d", t.Output, r.Output)
	case t.Given == t.Better || t.Better < 0 || int(t.Better) >= m.Vocabulary || t.Given < 0 || int(t.Given) >= m.Vocabulary:
		return errors.New("the candidates are not two tokens of the vocabulary")
	case !sample.Judged(&t.Sampler):
		return errors.New("draws under a constraint are not judged; dispute a leaf")
	}
	if err := t.Request.check(r); err != nil {
		return err
	}
	if err := tokenAt(r.OutputHash, t.Given, uint64(t.Output), uint64(r.Output), t.Path); err != nil {
		return err
	}
	s.Claim.Position, s.Claim.Layer = r.Input-1+t.Output, s.Layers
	return nil
}

// output is the draw's place in the whole answer.
func (s *State) output() uint32 {
	t := s.Claim.Token
	return s.Inputs - t.Request.Prompt + t.Output
}

// candidate checks what was said of a token and adjusts its logit.
func (s *State) candidate(m *Model, v Shown) (c sample.Candidate, err error) {
	t := s.Claim.Token
	switch {
	case v.Token < 0 || int(v.Token) >= m.Vocabulary:
		return c, fmt.Errorf("there is no token %d", v.Token)
	case !sample.HasPenalties(&t.Sampler) && v.Seen != sample.Seen{}:
		return c, errors.New("what occurs matters to penalties alone")
	case v.Seen.Prompt > t.Request.Prompt || v.Seen.Answer > s.output():
		return c, fmt.Errorf("token %d occurs more often than there are tokens", v.Token)
	}
	c = sample.Candidate{Token: v.Token, Logit: sample.Adjusted(&t.Sampler, v.Token, v.Logit, v.Seen)}
	if !spec.Finite([]float32{v.Logit, c.Logit}) {
		return c, errors.New("a logit is not finite")
	}
	return c, nil
}

// named are the tokens of which claims speak.
func (v *Claims) named() []Shown {
	out := []Shown{v.Given, v.Better, v.Top}
	for _, c := range []*Shown{v.K, v.P} {
		if c != nil {
			out = append(out, *c)
		}
	}
	return out
}

func (v *Claims) find(t core.Token) (Shown, bool) {
	for _, c := range v.named() {
		if c.Token == t {
			return c, true
		}
	}
	return Shown{}, false
}

// Speaks reports whether the claims say something of a token.
func (v *Claims) Speaks(t core.Token) bool { _, ok := v.find(t); return ok }

// Cut is where the claims say that the filters cut.
func (v *Claims) Cut(s *core.Sampler) sample.Cut {
	adjusted := func(c *Shown) *sample.Candidate {
		if c == nil {
			return nil
		}
		return &sample.Candidate{Token: c.Token, Logit: sample.Adjusted(s, c.Token, c.Logit, c.Seen)}
	}
	return sample.Cut{Top: adjusted(&v.Top).Logit, K: adjusted(v.K), P: adjusted(v.P)}
}

func (s *State) claims(m *Model, v *Claims) error {
	t := s.Claim.Token
	if s.Phase != NeedLayer || t == nil {
		return errWrong
	}
	if err := v.Leaf.check(s, int(s.Claim.Position), int(s.Layers)); err != nil {
		return err
	}
	if v.Given.Token != t.Given || v.Better.Token != t.Better {
		return errors.New("the candidates are others")
	}
	var given, better sample.Candidate
	cut := v.Cut(&t.Sampler)
	for i, c := range v.named() {
		a, err := s.candidate(m, c)
		if err != nil {
			return err
		}
		if a.Logit > cut.Top {
			return errors.New("the greatest logit is not the greatest")
		}
		if same, _ := v.find(c.Token); same.Seen != c.Seen || math.Float32bits(same.Logit) != math.Float32bits(c.Logit) {
			return fmt.Errorf("token %d is shown in two ways", c.Token)
		}
		switch i {
		case 0:
			given = a
		case 1:
			better = a
		}
	}
	if err := s.checkSums(m, v, &cut); err != nil {
		return err
	}
	if !cut.Wins(&t.Sampler, t.Seed, s.output(), given, better) {
		return errors.New("by these logits the challenger's candidate wins")
	}
	s.Input, s.Results, s.Draw, s.Phase = v.Leaf.X, []core.Hash{v.Norm}, &Draw{Claims: *v}, NeedOperator
	return nil
}

// checkSums holds the filters' last tokens against the sums.
func (s *State) checkSums(m *Model, v *Claims, cut *sample.Cut) error {
	n := 0
	if sample.Filtered(&s.Claim.Token.Sampler) {
		n, _ = Runs(commit.Count(m.Vocabulary))
	}
	if len(v.Sums) != n {
		return fmt.Errorf("%d sums for %d runs", len(v.Sums), n)
	}
	if n == 0 {
		return nil
	}
	return cut.Check(&s.Claim.Token.Sampler, total(v.Sums), m.Vocabulary)
}

func total(sums []sample.Sum) (all sample.Sum) {
	for _, n := range sums {
		all.Add(n)
	}
	return all
}

// summing reports whether a sum over tiles of the vocabulary is in question.
func (s *State) summing() bool { return s.Draw != nil && s.Draw.Hi > s.Draw.Lo }

// counting reports whether a count of occurrences is in question.
func (s *State) counting() bool { return s.Draw != nil && s.Draw.Count != nil }

// draw is a copy that may be changed.
func (s *State) draw() *Draw {
	d := *s.Draw
	s.Draw = &d
	return &d
}

func (s *State) pickSum(m *Model, v *PickSum) error {
	if s.Draw == nil || s.Draw.Tile != nil {
		return errWrong
	}
	var choices []sample.Sum
	lo, hi := 0, commit.Count(m.Vocabulary)
	switch {
	case s.Phase == NeedOperator:
		choices = s.Draw.Claims.Sums
	case s.Phase == NeedTile && s.summing():
		last, err := lastMove[*Sums](s)
		if err != nil {
			return err
		}
		choices, lo, hi = last.Sums, int(s.Draw.Lo), int(s.Draw.Hi)
	default:
		return errWrong
	}
	if int(v.Run) >= len(choices) {
		return fmt.Errorf("there is no sum %d of %d", v.Run, len(choices))
	}
	d := s.draw()
	_, length := Runs(hi - lo)
	lo += int(v.Run) * length
	d.Lo, d.Hi, d.Sum = uint32(lo), uint32(min(hi, lo+length)), choices[v.Run]
	s.Phase = NeedTiles
	return nil
}

// lastMove is the provider's last one, which was accepted as an M.
func lastMove[M Move](s *State) (M, error) {
	var none M
	v, err := DecodeMove(s.Last)
	last, ok := v.(M)
	if err != nil || !ok {
		return none, errWrong
	}
	return last, nil
}

func (s *State) sums(v *Sums) error {
	if s.Phase != NeedTiles || !s.summing() || s.Draw.Hi-s.Draw.Lo == 1 {
		return errWrong
	}
	if n, _ := Runs(int(s.Draw.Hi - s.Draw.Lo)); len(v.Sums) != n {
		return fmt.Errorf("%d sums for %d runs", len(v.Sums), n)
	}
	if total(v.Sums) != s.Draw.Sum {
		return errors.New("the sums do not add up to the one that was shown before")
	}
	s.Phase = NeedTile
	return nil
}

func (s *State) logits(m *Model, v *Logits) error {
	if s.Phase != NeedTiles || !s.summing() || s.Draw.Hi-s.Draw.Lo > 1 {
		return errWrong
	}
	first := int(s.Draw.Lo) * commit.TileLen
	if len(v.Values) != min(commit.TileLen, m.Vocabulary-first) {
		return fmt.Errorf("a tile of %d logits", len(v.Values))
	}
	sampler := &s.Claim.Token.Sampler
	cut, seen := s.Draw.Claims.Cut(sampler), v.Seen
	var sum sample.Sum
	for i, l := range v.Values {
		c := Shown{Token: core.Token(first + i), Logit: l}
		if len(seen) > 0 && seen[0].Token == c.Token {
			if c.Seen, seen = seen[0].Seen, seen[1:]; c.Seen == (sample.Seen{}) {
				return fmt.Errorf("token %d is listed and does not occur", c.Token)
			}
		}
		a, err := s.candidate(m, c)
		if err != nil {
			return err
		}
		if a.Logit > cut.Top {
			return errors.New("a logit exceeds the one that was claimed to be the greatest")
		}
		n, _ := cut.Weigh(sampler, a)
		sum.Add(n)
	}
	if len(seen) > 0 {
		return errors.New("the tokens that occur are not listed in order, or not of the tile")
	}
	if sum != s.Draw.Sum {
		return errors.New("the logits do not give the sum that was shown before")
	}
	s.draw().Tile, s.Phase = v, NeedTile
	return nil
}

// said is what was said of a token: by the tile in question, or by the claims.
func (s *State) said(t core.Token) (c Shown, ok bool) {
	d := s.Draw
	if d.Tile == nil {
		return d.Claims.find(t)
	}
	first := core.Token(d.Lo * commit.TileLen)
	if t < first || int(t-first) >= len(d.Tile.Values) {
		return c, false
	}
	c = Shown{Token: t, Logit: d.Tile.Values[t-first]}
	for _, n := range d.Tile.Seen {
		if n.Token == t {
			c.Seen = n.Seen
		}
	}
	return c, true
}

// picksToken reports whether the challenger may point at a token: after the
// claims, or within a tile that was shown.
func (s *State) picksToken() bool {
	return s.Draw != nil && (s.Phase == NeedOperator || s.Phase == NeedTile && s.Draw.Tile != nil)
}

func (s *State) pickLogit(m *Model, v *PickLogit) error {
	if !s.picksToken() {
		return errWrong
	}
	if v.Token < 0 || int(v.Token) >= m.Vocabulary {
		return fmt.Errorf("there is no token %d", v.Token)
	}
	if _, ok := s.said(v.Token); !ok && s.Draw.Tile != nil {
		return fmt.Errorf("token %d is not in the tile", v.Token)
	}
	s.Logit, s.Phase = v, NeedChunks
	group, _ := m.head.Groups(int(v.Token), int(v.Token)+1)
	s.Tile = uint32(group)
	return nil
}

// checkLogit holds the logit in question against what was said of it; seen goes
// with a token of which nothing was.
func (s *State) checkLogit(m *Model, l float32, seen *sample.Seen) error {
	if c, ok := s.said(s.Logit.Token); ok {
		if seen != nil || math.Float32bits(l) != math.Float32bits(c.Logit) {
			return errors.New("the logit is not the one that was claimed")
		}
		return nil
	}
	if (seen != nil) != sample.HasPenalties(&s.Claim.Token.Sampler) {
		return errors.New("what occurs matters to penalties alone")
	}
	d := s.draw()
	if seen != nil {
		d.Unnamed = *seen
	}
	c, err := s.candidate(m, Shown{s.Logit.Token, l, d.Unnamed})
	if err != nil {
		return err
	}
	if cut := d.Claims.Cut(&s.Claim.Token.Sampler); c.Logit > cut.Top {
		return errors.New("the logit exceeds the one that was claimed to be the greatest")
	}
	return nil
}

// counted are the positions among which a token's occurrences are counted.
func (s *State) counted(answer bool) (lo, hi uint32) {
	prompt := s.Claim.Token.Request.Prompt
	if answer {
		return prompt, s.Claim.Position + 1
	}
	return 0, prompt
}

func (s *State) pickCount(v *PickCount) error {
	if s.Claim.Token == nil || !sample.HasPenalties(&s.Claim.Token.Sampler) {
		return errWrong
	}
	var n sample.Seen
	switch {
	case s.picksToken():
		c, ok := s.said(v.Token)
		if !ok {
			return fmt.Errorf("nothing was said of token %d", v.Token)
		}
		n = c.Seen
	case s.Phase == NeedChunk && s.Logit != nil && s.Logit.Token == v.Token:
		if _, ok := s.said(v.Token); ok {
			return errWrong
		}
		n = s.Draw.Unnamed
	default:
		return errWrong
	}
	lo, hi := s.counted(v.Answer)
	if lo == hi {
		return errors.New("there are no positions to count in")
	}
	d := s.draw()
	d.Count, d.Occurs = v, n.Prompt
	if v.Answer {
		d.Occurs = n.Answer
	}
	s.Logit = nil
	s.narrow(lo, hi)
	return nil
}

// narrow puts a run of positions in question.
func (s *State) narrow(lo, hi uint32) {
	s.Lo, s.Hi, s.Phase = lo, hi, NeedChunks
	if hi-lo == 1 {
		s.Phase = NeedStep
	}
}

func (s *State) counts(v *Counts) error {
	if s.Phase != NeedChunks || !s.counting() {
		return errWrong
	}
	if n, _ := Runs(int(s.Hi - s.Lo)); len(v.Counts) != n {
		return fmt.Errorf("%d counts for %d runs", len(v.Counts), n)
	}
	all := uint64(0)
	for _, n := range v.Counts {
		all += uint64(n)
	}
	if all != uint64(s.Draw.Occurs) {
		return errors.New("the counts do not add up to the one that was shown before")
	}
	s.Phase = NeedChunk
	return nil
}

func (s *State) pickRun(v *PickChunk) error {
	last, err := lastMove[*Counts](s)
	if err != nil {
		return err
	}
	if int(v.Chunk) >= len(last.Counts) {
		return fmt.Errorf("there is no run %d of %d", v.Chunk, len(last.Counts))
	}
	s.draw().Occurs = last.Counts[v.Chunk]
	_, length := Runs(int(s.Hi - s.Lo))
	lo := s.Lo + v.Chunk*uint32(length)
	s.narrow(lo, min(s.Hi, lo+uint32(length)))
	return nil
}

func (s *State) countStep(v *Step) error {
	if err := s.tokenOf(v.Token, s.Lo, v.Path); err != nil {
		return err
	}
	n := uint32(0)
	if v.Token == s.Draw.Count.Token {
		n = 1
	}
	if n != s.Draw.Occurs {
		return errStep
	}
	return nil
}

// tokenOf checks the token at a position of input and output.
func (s *State) tokenOf(t core.Token, at uint32, path []core.Hash) error {
	if at < s.Inputs {
		return tokenAt(s.InputHash, t, uint64(at), uint64(s.Inputs), path)
	}
	return tokenAt(s.OutputHash, t, uint64(at-s.Inputs), uint64(s.Outputs), path)
}

// TokenProgram is the program of a token: the normalised residual stream, from
// which single logits follow.
func (m *Model) TokenProgram() *Program {
	return &Program{X: -1, K: -1, V: -1, Route: -1, Ops: []Operator{{Kind: Norm, Name: "normalised output", Len: m.config.Width, A: Input, Weights: m.norm}}}
}
