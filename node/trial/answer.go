package trial

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/verify"
	"github.com/koinon-network/koinon/infra/voucher"
	"github.com/koinon-network/koinon/infra/vrf"
)

// Limits of the random answers, in tokens.
const (
	maxPrompt = 48
	maxAnswer = 16
	maxBatch  = 12
)

// parties are the keys of a consumer and of a provider.
type parties struct {
	consumer, provider *voucher.Key
	vrf                *vrf.Key
	facts              verify.Facts // what the chain knows of them
}

func newParties(r *rand.Rand) (*parties, error) {
	secret := func(n int) []byte { b := make([]byte, n); fill(r, b); return b }
	p := new(parties)
	var err error
	if p.consumer, err = voucher.NewKey(secret(32)); err != nil {
		return nil, err
	}
	if p.provider, err = voucher.NewKey(secret(32)); err != nil {
		return nil, err
	}
	if p.vrf, err = vrf.NewKey(ed25519.NewKeyFromSeed(secret(32))); err != nil {
		return nil, err
	}
	signer := p.consumer.Address()
	p.facts = verify.Facts{Signer: &signer, VRFKey: p.vrf.PublicKey()}
	return p, nil
}

func fill(r *rand.Rand, b []byte) {
	for i := range b {
		b[i] = byte(r.Uint32())
	}
}

func hash(r *rand.Rand) (h core.Hash) {
	fill(r, h[:])
	return h
}

// order is a signed request with what belongs to its seed.
type order struct {
	ev core.Evidence
	in core.SequenceInput
}

// newOrder draws prompt, sampler and seed at random.
func (p *parties) newOrder(r *rand.Rand, info core.ModelInfo) (*order, error) {
	nonce := hash(r)
	q := core.Request{ChainID: 564666, ID: hash(r), Model: info.ID, Semantics: info.Semantics, Provider: p.provider.Address(), Channel: hash(r),
		NonceCommit: sha256.Sum256(nonce[:]), PriceIn: core.NewAmount(1 + r.Uint64N(1<<40)), PriceOut: core.NewAmount(1 + r.Uint64N(1<<40)), Expiry: 1_900_000_000}
	for range 1 + r.IntN(maxPrompt) {
		q.Input = append(q.Input, core.Token(r.IntN(info.Vocabulary)))
	}
	q.Prompt = uint32(len(q.Input))
	q.Sampler = randomSampler(r, info.Vocabulary)
	if r.IntN(4) == 0 {
		seed := r.Uint64()
		q.UserSeed = &seed
	}
	o := &order{ev: core.Evidence{Version: 1, Nonce: nonce, VRFKey: p.vrf.PublicKey(), ModelName: info.Name}}
	if q.UserSeed == nil {
		proof, _, err := p.vrf.Prove(q.VRFInput())
		if err != nil {
			return nil, err
		}
		o.ev.VRF = proof
	}
	signature, err := p.consumer.Sign(q.Digest())
	if err != nil {
		return nil, err
	}
	o.ev.Request = core.SignedRequest{Request: q, Signature: signature}
	seed, err := verify.SeedFor(&q, nonce, o.ev.VRF, o.ev.VRFKey)
	o.in = core.SequenceInput{Input: q.Input, Sampler: q.Sampler, Seed: seed, Salt: q.Salt(seed), Trace: true}
	return o, err
}

func randomSampler(r *rand.Rand, vocabulary int) core.Sampler {
	s := core.Sampler{MaxTokens: 1 + uint32(r.IntN(maxAnswer)), IgnoreEOS: r.IntN(2) == 0}
	if r.IntN(4) > 0 {
		s.Temperature = 1 + r.Uint32N(core.MaxTemperature)
	}
	some := func(set func()) {
		if r.IntN(4) == 0 {
			set()
		}
	}
	some(func() { s.TopK = 1 + r.Uint32N(100) })
	some(func() { s.TopP = 500_000 + r.Uint32N(500_000) })
	some(func() { s.MinP = r.Uint32N(200_000) })
	some(func() { s.RepetitionPenalty = 1_000_000 + r.Uint32N(500_000) })
	some(func() { s.FrequencyPenalty = int32(r.IntN(1_000_000)) })
	some(func() { s.PresencePenalty = int32(r.IntN(1_000_000)) })
	some(func() { s.Logprobs = 1 + r.Uint32N(4) })
	some(func() {
		s.Bias = []core.TokenBias{{Token: core.Token(r.IntN(vocabulary)), Bias: int32(r.IntN(2_000_000))}}
	})
	return s
}

// outcome is what a provider's engine gave.
type outcome struct {
	output   []core.Token
	logprobs []core.TokenLogprobs
	leaves   []core.Hash
	finish   core.FinishReason
}

// generate writes the answers to all inputs together, as a provider does.
func generate(ctx context.Context, m *model.Model, inputs []core.SequenceInput) ([]outcome, error) {
	var batch []core.Sequence
	defer func() {
		for _, s := range batch {
			s.Release()
		}
	}()
	for _, in := range inputs {
		s, err := m.NewSequence(in)
		if err != nil {
			return nil, err
		}
		batch = append(batch, s)
	}
	for running := slices.Clone(batch); len(running) > 0; {
		if err := m.Step(ctx, running); err != nil {
			return nil, err
		}
		running = slices.DeleteFunc(running, func(s core.Sequence) bool { return s.Finish() != "" })
	}
	out := make([]outcome, len(batch))
	for i, s := range batch {
		out[i] = outcome{slices.Clone(s.Output()), slices.Clone(s.Logprobs()), slices.Clone(s.Boundaries()), s.Finish()}
	}
	return out, nil
}

// seal makes the receipt that fits the answer and signs it.
func (p *parties) seal(o *order, a outcome) (core.Evidence, error) {
	ev, q := o.ev, &o.ev.Request.Request
	ev.Output, ev.Logprobs, ev.Boundaries = a.output, a.logprobs, a.leaves
	ev.Receipt.Receipt = core.Receipt{ChainID: q.ChainID, Semantics: q.Semantics, Model: q.Model, Request: q.ID, RequestHash: q.Digest(),
		Provider: q.Provider, Channel: q.Channel, InputHash: core.HashTokens(q.Input), OutputHash: core.HashTokens(a.output), Logprobs: core.HashLogprobs(a.logprobs),
		Sampler: q.Sampler.Digest(), Seed: o.in.Seed.Commitment(), Input: uint32(len(q.Input)), Output: uint32(len(a.output)), Billed: q.Prompt,
		Finish: a.finish, BoundaryRoot: merkle.Root(a.leaves), PriceIn: q.PriceIn, PriceOut: q.PriceOut, Issued: 1_800_000_000, Expiry: 1_900_000_000}
	return ev, p.sign(&ev)
}

// sign puts the provider's signature under the receipt as it stands.
func (p *parties) sign(ev *core.Evidence) (err error) {
	ev.Receipt.Signature, err = p.provider.Sign(ev.Receipt.Digest())
	return err
}

// same reports whether two answers hold the same claims.
func (a *outcome) same(b *outcome) bool {
	return a.finish == b.finish && slices.Equal(a.output, b.output) && slices.Equal(a.leaves, b.leaves) &&
		core.HashLogprobs(a.logprobs) == core.HashLogprobs(b.logprobs)
}

// whole reports whether an answer ended as answers do.
func (a *outcome) whole() bool {
	return len(a.output) > 0 && (a.finish == core.FinishStop || a.finish == core.FinishLength)
}

// clone copies what forgeries change in place.
func clone(ev core.Evidence) core.Evidence {
	q := &ev.Request.Request
	q.Input, q.Sampler.Bias, ev.Output, ev.Boundaries = slices.Clone(q.Input), slices.Clone(q.Sampler.Bias), slices.Clone(ev.Output), slices.Clone(ev.Boundaries)
	ev.VRF, ev.VRFKey = bytes.Clone(ev.VRF), bytes.Clone(ev.VRFKey)
	ev.Logprobs = slices.Clone(ev.Logprobs)
	return ev
}

// mutated opens the file with one bit of a tensor flipped, and says where.
func mutated(r *rand.Rand, file []byte, tensors []gguf.Tensor, o model.Options) (*model.Model, string, []byte, error) {
	for range 100 {
		t := &tensors[r.IntN(len(tensors))]
		bent := bytes.Clone(file)
		at := r.Uint64N(t.Size)
		bit := r.IntN(8)
		bent[t.Offset+at] ^= 1 << bit
		m, err := model.OpenBytes(bent, o)
		if err != nil {
			continue // weights that no model may have, such as infinite ones
		}
		return m, fmt.Sprintf("%s, byte %d, bit %d", t.Name, at, bit), bent, nil
	}
	return nil, "", nil, fmt.Errorf("no bit of the model can be flipped")
}
