package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/voucher"
)

// toy is a deterministic engine for these tests: each token is a hash of the
// seed, the position and everything before it. It draws from 500 tokens, ends
// at token 0, and has two layers.
type toy struct {
	model     core.ModelID
	semantics uint32 // 0 stands for core.SemanticsV1
	twist     int    // from this position of input ‖ output on, layer 1 computes something else
	replayed  int
}

const toyVocabulary, toyLayers = 500, 2

func (e *toy) Info() core.ModelInfo {
	return core.ModelInfo{ID: e.model, Name: "toy", ContextLength: 1000, Vocabulary: toyVocabulary, Layers: toyLayers, Semantics: max(e.semantics, core.SemanticsV1)}
}

func (e *toy) NewSequence(core.SequenceInput) (core.Sequence, error) { panic("not used") }
func (e *toy) Step(context.Context, []core.Sequence) error           { panic("not used") }
func (e *toy) Close() error                                          { return nil }

// Embed is a unit vector of four equal numbers whose signs are a hash.
func (e *toy) Embed(_ context.Context, inputs [][]core.Token, p core.Pooling) ([][]float32, error) {
	e.replayed++
	if p == core.PoolCLS {
		return nil, core.Errorf(core.CodeInvalid, "this model has no first token to pool")
	}
	out := make([][]float32, len(inputs))
	for i, in := range inputs {
		h := core.HashTokens(in)
		for j := range 4 {
			out[i] = append(out[i], float32(int(h[j]&1))-0.5)
		}
	}
	return out, nil
}

func (e *toy) logprobs(t core.Token, before []core.Token, n uint32) core.TokenLogprobs {
	h := core.HashTokens(before)
	l := core.TokenLogprobs{{Token: t, Value: -int32(h[0])}}
	for i := int32(1); i < int32(n); i++ {
		l = append(l, core.Logprob{Token: core.Token(i), Value: -int32(h[0]) - i})
	}
	return l
}

func (e *toy) draw(in core.SequenceInput, before []core.Token) core.Token {
	h := core.HashTokens(before)
	b := sha256.Sum256(append(append(in.Seed[:], h[:]...), e.model[:]...))
	return core.Token(binary.BigEndian.Uint32(b[:4]) % toyVocabulary)
}

func (e *toy) leaf(in core.SequenceInput, all []core.Token, t, l int) core.Hash {
	h := core.HashTokens(all[:t+1])
	if e.twist > 0 && t >= e.twist && l >= 1 {
		h[0] ^= 1
	}
	s := core.BoundarySalt(in.Salt, uint32(t), uint32(l))
	return sha256.Sum256(append(append(s[:], h[:]...), byte(l)))
}

func (e *toy) Replay(_ context.Context, in core.SequenceInput, output []core.Token) (core.Replayed, error) {
	e.replayed++
	out := core.Replayed{Ended: -1}
	all := append([]core.Token(nil), in.Input...)
	for i := range output {
		t := e.draw(in, all)
		out.Tokens = append(out.Tokens, t)
		if n := in.Sampler.Logprobs; n > 0 {
			out.Logprobs = append(out.Logprobs, e.logprobs(t, all, n))
		}
		reason := core.FinishReason("")
		switch {
		case t == 0:
			reason = core.FinishStop
		case in.Base+i+1 >= int(in.Sampler.MaxTokens):
			reason = core.FinishLength
		}
		if reason != "" && out.Ended < 0 {
			out.Ended = i
		}
		if i == len(output)-1 {
			out.Finish = reason
		}
		all = append(all, output[i])
	}
	for t := range len(all) - 1 {
		for l := range toyLayers + 1 {
			out.Boundaries = append(out.Boundaries, e.leaf(in, all, t, l))
		}
	}
	return out, nil
}

// answer generates up to n tokens, as a provider does.
func (e *toy) answer(in core.SequenceInput, n int) ([]core.Token, core.FinishReason) {
	var out []core.Token
	all := append([]core.Token(nil), in.Input...)
	for len(out) < n {
		t := e.draw(in, all)
		out, all = append(out, t), append(all, t)
		if t == 0 {
			return out, core.FinishStop
		}
		if in.Base+len(out) >= int(in.Sampler.MaxTokens) {
			return out, core.FinishLength
		}
	}
	return out, core.FinishCancelled
}

func testKey(t testing.TB, seed byte) *voucher.Key {
	t.Helper()
	b := bytes.Repeat([]byte{seed}, 32)
	k, err := voucher.NewKey(b)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func sign(t testing.TB, k *voucher.Key, h core.Hash) core.Signature {
	t.Helper()
	s, err := k.Sign(h)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

var testNonce = core.Hash{0x4e, 0x6f}

// sampleRequest is the request of the published vectors, signed by key 0x11.
func sampleRequest(t testing.TB) core.SignedRequest {
	t.Helper()
	q := core.Request{ChainID: 564666, ID: core.Hash{1}, Model: core.Hash{2}, Semantics: 1,
		Provider: testKey(t, 0x22).Address(), Channel: core.Hash{3}, Input: []core.Token{1, 15, 42, 7}, Prompt: 4,
		Sampler:     core.Sampler{Temperature: 700_000, TopK: 40, TopP: 950_000, MinP: 50_000, MaxTokens: 12, Stop: []string{"\n\n", "End"}},
		NonceCommit: sha256.Sum256(testNonce[:]), PriceIn: core.NewAmount(1_000_000_000), PriceOut: core.NewAmount(3_000_000_000), Expiry: 1_800_000_060}
	return core.SignedRequest{Request: q, Signature: sign(t, testKey(t, 0x11), q.Digest())}
}

// evidenceFor lets engine answer the request and seals the result, honestly.
func evidenceFor(t testing.TB, q core.SignedRequest, e *toy, limit int) core.Evidence {
	t.Helper()
	vrf := vrfFromSeed(t, unhexSeed)
	ev := core.Evidence{Version: 1, Request: q, Nonce: testNonce, VRFKey: vrf.PublicKey(), ModelName: "toy"}
	if q.UserSeed == nil {
		proof, _, err := vrf.Prove(q.VRFInput())
		if err != nil {
			t.Fatal(err)
		}
		ev.VRF = proof
	}
	seed, err := SeedFor(&q.Request, testNonce, ev.VRF, ev.VRFKey)
	if err != nil {
		t.Fatal(err)
	}
	in := core.SequenceInput{Input: q.Input, Sampler: q.Sampler, Seed: seed, Base: len(q.Input) - int(q.Prompt), Salt: q.Salt(seed), Trace: true}
	var finish core.FinishReason
	ev.Output, finish = e.answer(in, limit)
	own, _ := e.Replay(context.Background(), in, ev.Output)
	ev.Boundaries, ev.Logprobs = own.Boundaries, own.Logprobs
	ev.Receipt.Receipt = core.Receipt{ChainID: q.ChainID, Semantics: q.Semantics, Model: q.Model, Request: q.ID, RequestHash: q.Digest(),
		Provider: q.Provider, Channel: q.Channel, InputHash: core.HashTokens(q.Input), OutputHash: core.HashTokens(ev.Output), Logprobs: core.HashLogprobs(own.Logprobs),
		Sampler: q.Sampler.Digest(), Seed: seed.Commitment(), Input: uint32(len(q.Input)), Output: uint32(len(ev.Output)), Billed: q.Prompt,
		Finish: finish, BoundaryRoot: merkle.Root(own.Boundaries), PriceIn: q.PriceIn, PriceOut: q.PriceOut, Issued: 1_800_000_003, Expiry: 1_800_000_003 + 86_400}
	reseal(t, &ev)
	return ev
}

// embeddingFor lets engine embed the sample's input and seals the vector.
func embeddingFor(t testing.TB, e *toy) core.Evidence {
	t.Helper()
	q := sampleRequest(t)
	q.Pooling, q.Sampler = core.PoolMean, core.Sampler{}
	q.Signature = sign(t, testKey(t, 0x11), q.Digest())
	ev := evidenceFor(t, q, e, 0)
	v, err := e.Embed(t.Context(), [][]core.Token{q.Input}, q.Pooling)
	if err != nil {
		t.Fatal(err)
	}
	ev.Boundaries, ev.Embedding = nil, core.EncodeVector(v[0])
	ev.Receipt.OutputHash, ev.Receipt.BoundaryRoot, ev.Receipt.Finish = core.HashEmbedding(ev.Embedding), core.Hash{}, core.FinishStop
	reseal(t, &ev)
	return ev
}

// reseal signs the receipt as it stands with the provider's key.
func reseal(t testing.TB, ev *core.Evidence) {
	t.Helper()
	ev.Receipt.Signature = sign(t, testKey(t, 0x22), ev.Receipt.Digest())
}

var unhexSeed = bytes.Repeat([]byte{0x33}, 32)

func sampleEvidence(t testing.TB) core.Evidence {
	t.Helper()
	return evidenceFor(t, sampleRequest(t), &toy{model: core.Hash{2}}, 1000)
}
