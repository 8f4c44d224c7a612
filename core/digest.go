package core

import (
	"crypto/sha256"
	"encoding/binary"

	"github.com/koinon-network/koinon/core/merkle"
)

// digester builds one SHA-256 over tagged, fixed-width or length-prefixed
// fields, so that no two different values share an encoding.
type digester struct{ b []byte }

func newDigest(tag string) *digester {
	d := &digester{make([]byte, 0, 256)}
	return d.text(tag)
}

func (d *digester) u32(v uint32) *digester {
	d.b = binary.BigEndian.AppendUint32(d.b, v)
	return d
}

func (d *digester) u64(v uint64) *digester {
	d.b = binary.BigEndian.AppendUint64(d.b, v)
	return d
}

func (d *digester) bytes(v []byte) *digester {
	d.b = append(d.b, v...)
	return d
}

func (d *digester) hash(v Hash) *digester { return d.bytes(v[:]) }

func (d *digester) address(v Address) *digester { return d.bytes(v[:]) }

func (d *digester) text(v string) *digester { return d.u32(uint32(len(v))).bytes([]byte(v)) }

func (d *digester) amount(v Amount) *digester { b := v.Bytes32(); return d.bytes(b[:]) }

func (d *digester) flag(v bool) *digester {
	if v {
		return d.u32(1)
	}
	return d.u32(0)
}

func (d *digester) sum() Hash { return sha256.Sum256(d.b) }

// HashTokens commits to a token sequence: the Merkle root over TokenLeaf of each,
// so that one token can be shown without the others.
func HashTokens(ids []Token) Hash {
	leaves := make([]Hash, len(ids))
	for i, t := range ids {
		leaves[i] = TokenLeaf(t)
	}
	return merkle.Root(leaves)
}

// TokenLeaf is a token's leaf under HashTokens.
func TokenLeaf(t Token) Hash { return newDigest("koinon/token/1").u32(uint32(t)).sum() }

// TokenChain extends a hash chain over output tokens by ids. The chain of no
// tokens is the zero hash; each step is SHA-256(previous || big-endian id).
func TokenChain(h Hash, ids []Token) Hash {
	var b [36]byte
	for _, t := range ids {
		copy(b[:], h[:])
		binary.BigEndian.PutUint32(b[32:], uint32(t))
		h = sha256.Sum256(b[:])
	}
	return h
}

// ModelVariant names a model under a semantics version: the root itself under
// SemanticsV1. With an option the answers differ, and so does the name.
func ModelVariant(root ModelID, semantics uint32) ModelID {
	if semantics == SemanticsV1 {
		return root
	}
	return newDigest("koinon/model-variant/1").hash(root).u32(semantics).sum()
}

// HashLogprobs commits to the log-probabilities of an answer; without any it is
// the zero hash.
func HashLogprobs(ls []TokenLogprobs) Hash {
	if len(ls) == 0 {
		return Hash{}
	}
	d := newDigest("koinon/logprobs/1").u32(uint32(len(ls)))
	for _, l := range ls {
		d.u32(uint32(len(l)))
		for _, p := range l {
			d.u32(uint32(p.Token)).u32(uint32(p.Value))
		}
	}
	return d.sum()
}

// HashEmbedding commits to an encoded vector.
func HashEmbedding(vector Bytes) Hash {
	return newDigest("koinon/embedding/1").text(string(vector)).sum()
}

// Digest commits to the sampler.
func (s Sampler) Digest() Hash {
	d := newDigest("koinon/sampler/1").u32(s.Temperature).u32(s.TopK).u32(s.TopP).u32(s.MinP).u32(s.MaxTokens)
	d.u32(uint32(len(s.Stop)))
	for _, t := range s.Stop {
		d.text(t)
	}
	d.flag(s.IgnoreEOS)
	d.u32(s.RepetitionPenalty).u32(uint32(s.FrequencyPenalty)).u32(uint32(s.PresencePenalty))
	d.u32(uint32(len(s.Bias)))
	for _, b := range s.Bias {
		d.u32(uint32(b.Token)).u32(uint32(b.Bias))
	}
	d.u32(s.Logprobs).flag(s.Constraint != nil)
	if c := s.Constraint; c != nil {
		d.text(c.Grammar).text(c.Trigger)
	}
	return d.sum()
}

// RequestHead is a request as its digest sees it: input, sampler and resumed
// progress by their own digests.
type RequestHead struct {
	ChainID           uint64
	ID                RequestID
	Model             ModelID
	Semantics         uint32
	Provider          Address
	Channel           ChannelID
	Input             Hash // HashTokens
	Prompt            uint32
	Sampler           Hash
	UserSeed          *uint64
	NonceCommit       Hash
	PriceIn, PriceOut Amount
	Expiry            int64
	Resume            *Hash
	Pooling           Pooling
}

// Head returns the request's head.
func (r *Request) Head() RequestHead {
	h := RequestHead{ChainID: r.ChainID, ID: r.ID, Model: r.Model, Semantics: r.Semantics, Provider: r.Provider, Channel: r.Channel,
		Input: HashTokens(r.Input), Prompt: r.Prompt, Sampler: r.Sampler.Digest(), UserSeed: r.UserSeed, NonceCommit: r.NonceCommit,
		PriceIn: r.PriceIn, PriceOut: r.PriceOut, Expiry: r.Expiry, Pooling: r.Pooling}
	if r.Resume != nil {
		digest := r.Resume.Digest(r.ChainID)
		h.Resume = &digest
	}
	return h
}

// Digest is what the consumer signs. It covers the input by its hash and the
// resumed progress by its token chain.
func (r *Request) Digest() Hash { h := r.Head(); return h.Digest() }

// Digest is the request's.
func (h *RequestHead) Digest() Hash {
	d := newDigest("koinon/request/1").u64(h.ChainID).hash(h.ID).hash(h.Model).u32(h.Semantics).
		address(h.Provider).hash(h.Channel).hash(h.Input).u32(h.Prompt).hash(h.Sampler)
	if h.UserSeed != nil {
		d.u32(1).u64(*h.UserSeed)
	} else {
		d.u32(0).u64(0)
	}
	d.hash(h.NonceCommit).amount(h.PriceIn).amount(h.PriceOut).u64(uint64(h.Expiry))
	if h.Resume != nil {
		d.u32(1).hash(*h.Resume)
	} else {
		d.u32(0).hash(Hash{})
	}
	return d.text(string(h.Pooling)).sum()
}

// Digest is what the provider signs with each chunk, on the given chain.
func (p *Progress) Digest(chainID uint64) Hash {
	return newDigest("koinon/progress/1").u64(chainID).hash(p.ID).address(p.Provider).u32(p.Count).hash(p.Tokens).sum()
}

// Tier is what the receipt's proof is worth, by the semantics that it names.
func (r *Receipt) Tier() Tier { return TierOf(r.Semantics) }

// Digest is what the provider signs, and the receipt's id.
func (r *Receipt) Digest() ReceiptID {
	return newDigest("koinon/receipt/1").u64(r.ChainID).u32(r.Semantics).hash(r.Model).hash(r.Request).hash(r.RequestHash).
		address(r.Provider).hash(r.Channel).hash(r.InputHash).hash(r.OutputHash).hash(r.Logprobs).hash(r.Sampler).hash(r.Seed).
		u32(r.Input).u32(r.Output).u32(r.Billed).text(string(r.Finish)).hash(r.BoundaryRoot).
		amount(r.PriceIn).amount(r.PriceOut).u64(uint64(r.Issued)).u64(uint64(r.Expiry)).sum()
}

// VRFInput is the message under the provider's VRF: the request and the
// consumer's commitment, both fixed before the provider answers.
func (r *Request) VRFInput() []byte {
	d := newDigest("koinon/vrf/1").u64(r.ChainID).hash(r.ID).hash(r.NonceCommit)
	return d.b
}

// DeriveSeed computes the sampler's seed from the consumer's nonce and the
// provider's VRF output, neither of which either side could choose alone. With
// a UserSeed the seed depends on that number alone.
func (r *Request) DeriveSeed(nonce Hash, vrfOutput []byte) Seed {
	if r.UserSeed != nil {
		return Seed(newDigest("koinon/seed/user/1").u64(*r.UserSeed).sum())
	}
	return Seed(newDigest("koinon/seed/1").u64(r.ChainID).hash(r.ID).hash(nonce).bytes(vrfOutput).sum())
}

// Commitment hides the seed in a receipt.
func (s Seed) Commitment() Hash { return newDigest("koinon/seed-commitment/1").bytes(s[:]).sum() }

// Salt is the key of the boundary salts of one request: known to both sides,
// useless to anyone who does not hold the seed and the request.
func (r *Request) Salt(s Seed) Hash {
	return newDigest("koinon/salt/1").hash(r.ID).hash(r.NonceCommit).bytes(s[:]).sum()
}

// BoundarySalt is the salt of the leaf of token t at layer boundary l.
func BoundarySalt(key Hash, t, l uint32) Hash {
	return newDigest("koinon/boundary-salt/1").hash(key).u32(t).u32(l).sum()
}
