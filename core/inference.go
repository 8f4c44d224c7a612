package core

import "math"

// Token is an index into a model's vocabulary; never negative.
type Token int32

// SemanticsV1 is version 1 of the canonical numerics (spec/numerics.md): the
// rules that make an answer a function of its inputs on every machine.
const SemanticsV1 uint32 = 1

// SemanticsKV8 is version 1 with keys and values kept as int8 (spec/numerics.md):
// the low 16 bits are the version, bit 16 is the option. It gives other bits
// than SemanticsV1, so request and receipt name it.
const SemanticsKV8 = SemanticsV1 | 1<<16

// OptionStatistical is bit 17: an answer of the statistical tier, drawn from a
// distribution that is close to the one of the other bits' numerics and promises
// no bits (spec/statistical.md). Request and receipt name it, so that neither can
// pass for one of the exact tier.
const OptionStatistical uint32 = 1 << 17

// NumericsOf is the version of the numerics that a reference for answers under
// these semantics computes.
func NumericsOf(semantics uint32) uint32 { return semantics &^ OptionStatistical }

// TierOf is the tier of an answer under these semantics.
func TierOf(semantics uint32) Tier {
	if semantics&OptionStatistical != 0 {
		return TierStatistical
	}
	return TierExact
}

// SemanticsFor are the semantics of a tier's answers, given the numerics of the
// model. It fails with CodeInvalid for a tier without any.
func SemanticsFor(t Tier, numerics uint32) (uint32, error) {
	switch t {
	case TierExact:
		return numerics, nil
	case TierStatistical:
		return numerics | OptionStatistical, nil
	}
	return 0, Errorf(CodeInvalid, "answers of the tier %q cannot be ordered", t)
}

// KnownSemantics reports whether this program knows what an answer under these
// semantics promises.
func KnownSemantics(v uint32) bool {
	n := NumericsOf(v)
	return n == SemanticsV1 || n == SemanticsKV8
}

// Sampler says how tokens are drawn. All numbers are fixed point so that equal
// samplers have equal bytes. The order of application is: constraint, bias,
// penalties, top-k, min-p, top-p, temperature, Gumbel-max (spec/sampling.md).
type Sampler struct {
	// Temperature in millionths; 0 is greedy, 1_000_000 is 1.0. At most 2_000_000.
	Temperature uint32 `json:"temperature_micro"`
	// TopK keeps the k likeliest tokens; 0 keeps all.
	TopK uint32 `json:"top_k"`
	// TopP in millionths; 0 or 1_000_000 keeps all.
	TopP uint32 `json:"top_p_micro"`
	// MinP in millionths of the likeliest token's probability; 0 keeps all.
	MinP uint32 `json:"min_p_micro"`
	// MaxTokens bounds the answer, counting tokens of a stop string; at least 1.
	MaxTokens uint32 `json:"max_tokens"`
	// Stop ends the answer when the decoded text contains one of the strings.
	Stop []string `json:"stop,omitempty"`
	// IgnoreEOS continues past the model's end tokens, for benchmarks.
	IgnoreEOS bool `json:"ignore_eos,omitempty"`
	// RepetitionPenalty in millionths, 1_000_000 to 2_000_000, of tokens that occur
	// in the input or the answer; 0 is none.
	RepetitionPenalty uint32 `json:"repetition_penalty_micro,omitempty"`
	// FrequencyPenalty and PresencePenalty in millionths of a logit, -2_000_000 to
	// 2_000_000, of tokens that occur in the answer: per occurrence, and once.
	FrequencyPenalty int32 `json:"frequency_penalty_micro,omitempty"`
	PresencePenalty  int32 `json:"presence_penalty_micro,omitempty"`
	// Bias is added to the logits of its tokens, in rising order of ids.
	Bias []TokenBias `json:"bias,omitempty"`
	// Logprobs asks for the log-probability of each drawn token (1) and of the
	// n likeliest beside it (n+1, at most 21); 0 asks for none.
	Logprobs uint32 `json:"logprobs,omitempty"`
	// Constraint restricts the answer's bytes; nil does not.
	Constraint *Constraint `json:"constraint,omitempty"`
}

// TokenBias shifts one token's logit.
type TokenBias struct {
	Token Token `json:"token"`
	Bias  int32 `json:"bias_micro"` // millionths of a logit, -100_000_000 to 100_000_000
}

// Constraint is a grammar that the answer must follow byte by byte
// (spec/sampling.md). It is part of the sampler, so that an auditor draws under
// the same one.
type Constraint struct {
	// Grammar is the text of a grammar whose rule "root" is the language.
	Grammar string `json:"grammar"`
	// Trigger, when set, leaves the answer free until its text ends with this
	// string; from there on the grammar holds.
	Trigger string `json:"trigger,omitempty"`
}

// Logprob is the natural logarithm of a token's probability, before filters and
// temperature, in millionths; never positive.
type Logprob struct {
	Token Token `json:"token"`
	Value int32 `json:"logprob_micro"`
}

// TokenLogprobs are the log-probabilities at one output position: the drawn
// token's, then those of the likeliest tokens as far as they were asked for,
// the likeliest first, equal ones in rising order of ids. The drawn token is
// among the latter too where it belongs there.
type TokenLogprobs []Logprob

// Pooling says how the final hidden states of an input become one embedding.
type Pooling string

// Poolings.
const (
	PoolMean Pooling = "mean" // average of all positions
	PoolCLS  Pooling = "cls"  // the first position
	PoolLast Pooling = "last" // the last position
)

// Standing is how an output token stands in a reference's own draw of its
// position (spec/statistical.md), in logits.
type Standing struct {
	// Gap is by how much the score of the reference's own token leads the next
	// one that any honest sampler could have kept; it may be negative where
	// filters leave the choice open.
	Gap float64
	// Margin is by how much the claimed token's score stays behind the best; 0
	// where it is the best.
	Margin float64
	// Surprise is the claimed token's negative log-probability at the sampler's
	// temperature, at most MaxSurprise, and Expected its mean over tokens drawn
	// from the reference.
	Surprise, Expected float64
}

// MaxSurprise bounds a [Standing]'s Surprise, in nats.
const MaxSurprise = 8

// Unthinkable is the standing of a token that no honest answer has: it follows
// the answer's end, or claims an end that is none.
var Unthinkable = Standing{Gap: math.MaxFloat64, Margin: math.MaxFloat64, Surprise: MaxSurprise}

// Seed drives the sampler's noise: Gumbel(PRF(seed, position, token)).
type Seed [32]byte

// FinishReason says why an answer ended, in OpenAI's words.
type FinishReason string

// Reasons. FinishCancelled never reaches an API client: it marks a receipt of
// an answer that the consumer broke off.
const (
	FinishStop      FinishReason = "stop"      // an end token or a stop string
	FinishLength    FinishReason = "length"    // MaxTokens or the context is full
	FinishCancelled FinishReason = "cancelled" // the consumer went away
)

// Request is the consumer's order for one answer. The consumer signs its
// digest with the channel's voucher signer; input is committed as token ids,
// so that no prompt can be added on the way (spec/receipt.md).
type Request struct {
	ChainID   uint64    `json:"chain_id"` // EVM chain id
	ID        RequestID `json:"id"`
	Model     ModelID   `json:"model"`
	Semantics uint32    `json:"semantics"`
	Provider  Address   `json:"provider"`
	Channel   ChannelID `json:"channel"`
	Input     []Token   `json:"input"`
	// Prompt is how many leading input tokens are the consumer's prompt and are
	// billed. The rest was delivered and paid on another provider, and Resume
	// proves it.
	Prompt  uint32  `json:"prompt"`
	Sampler Sampler `json:"sampler"`
	// UserSeed, when set, makes the answer reproducible by choice of the
	// consumer, who thereby waives the provider's VRF (OpenAI's `seed`).
	UserSeed *uint64 `json:"user_seed,omitempty"`
	// NonceCommit is SHA-256 of the consumer's nonce, revealed after the
	// provider committed itself by its VRF.
	NonceCommit Hash   `json:"nonce_commit"`
	PriceIn     Amount `json:"price_in"`  // akoin per input token
	PriceOut    Amount `json:"price_out"` // akoin per output token
	Expiry      int64  `json:"expiry"`    // Unix seconds; refused afterwards
	// Resume is the last chunk that the failed provider signed, or nil.
	Resume *Progress `json:"resume,omitempty"`
	// Pooling, when set, orders an embedding of Input instead of an answer: the
	// sampler is then zero and nothing is resumed.
	Pooling Pooling `json:"pooling,omitempty"`
}

// Worst is what serving r costs at most: the prompt and all tokens that are
// still to come. An embedding has none.
func (r *Request) Worst() Usage {
	u := Usage{Input: r.Prompt}
	if given := uint64(len(r.Input)) - uint64(r.Prompt); r.Pooling == "" && given < uint64(r.Sampler.MaxTokens) {
		u.Output = r.Sampler.MaxTokens - uint32(given)
	}
	return u
}

// SignedRequest is a request with the voucher signer's signature.
type SignedRequest struct {
	Request
	Signature Signature `json:"signature"`
	// Voucher, when set, is the channel's latest one: it pays what an earlier,
	// broken stream left open, before the cashier looks at the debt. The
	// signature does not cover it, and evidence does not keep it.
	Voucher *Voucher `json:"voucher,omitempty"`
}

// Progress is a provider's signed statement that it had delivered the tokens
// whose chain hash is Tokens for request ID.
type Progress struct {
	ID        RequestID `json:"id"`
	Provider  Address   `json:"provider"`
	Count     uint32    `json:"count"`  // output tokens so far
	Tokens    Hash      `json:"tokens"` // see TokenChain
	Signature Signature `json:"signature"`
}

// Chunk is a run of output tokens, signed cumulatively: a consumer left in the
// lurch can prove what it was given.
type Chunk struct {
	Tokens   []Token  `json:"tokens"`
	Progress Progress `json:"progress"`
	// Logprobs has one element per token when the sampler asks for them. The
	// receipt commits to them.
	Logprobs []TokenLogprobs `json:"logprobs,omitempty"`
	// Due is the cumulative amount of this request's output so far; the
	// consumer's next voucher must cover it. The prompt is due at the end.
	Due Amount `json:"due"`
}

// Usage counts what was billed.
type Usage struct {
	Input  uint32 `json:"input"`  // billed prompt tokens
	Output uint32 `json:"output"` // delivered output tokens
	Cached uint32 `json:"cached"` // prompt tokens served from the KV cache (information)
}

// Cost returns in*Input + out*Output.
func (u Usage) Cost(in, out Amount) Amount {
	return in.Mul(uint64(u.Input)).Add(out.Mul(uint64(u.Output)))
}

// Receipt is the provider's signed commitment to one answer (spec/receipt.md).
type Receipt struct {
	ChainID      uint64       `json:"chain_id"`
	Semantics    uint32       `json:"semantics"`
	Model        ModelID      `json:"model"`
	Request      RequestID    `json:"request"`
	RequestHash  Hash         `json:"request_hash"` // the digest the consumer signed
	Provider     Address      `json:"provider"`
	Channel      ChannelID    `json:"channel"`
	InputHash    Hash         `json:"input_hash"`  // HashTokens(input)
	OutputHash   Hash         `json:"output_hash"` // HashTokens(output), or HashEmbedding
	Logprobs     Hash         `json:"logprobs"`    // HashLogprobs, zero when none were asked for
	Sampler      Hash         `json:"sampler"`     // Sampler.Digest
	Seed         Hash         `json:"seed"`        // SHA-256 of the seed
	Input        uint32       `json:"n_in"`
	Output       uint32       `json:"n_out"`
	Billed       uint32       `json:"billed_in"`
	Finish       FinishReason `json:"finish"`
	BoundaryRoot Hash         `json:"boundary_root"`
	PriceIn      Amount       `json:"price_in"`
	PriceOut     Amount       `json:"price_out"`
	Issued       int64        `json:"issued"` // Unix seconds
	Expiry       int64        `json:"expiry"` // after which it can no longer be challenged
}

// ReceiptID is a receipt's name: the digest that the provider signed.
type ReceiptID = Hash

// SignedReceipt is a receipt with the provider's signature.
type SignedReceipt struct {
	Receipt
	Signature Signature `json:"signature"`
}

// Evidence is everything that re-executing an answer needs besides the model:
// what both sides store and what `koinon verify` reads.
type Evidence struct {
	Version int           `json:"version"` // 1
	Receipt SignedReceipt `json:"receipt"`
	Request SignedRequest `json:"request"`
	Nonce   Hash          `json:"nonce"`   // opens Request.NonceCommit
	VRF     Bytes         `json:"vrf"`     // proof, empty with a UserSeed
	VRFKey  Bytes         `json:"vrf_key"` // the provider's ed25519 key
	Output  []Token       `json:"output"`  // output token ids
	// Logprobs has one element per output token when the sampler asks for them.
	Logprobs []TokenLogprobs `json:"logprobs,omitempty"`
	// Embedding is the vector that was ordered, as EncodeVector writes it.
	Embedding Bytes `json:"embedding,omitempty"`
	// Boundaries are the leaves under Receipt.BoundaryRoot, [token][layer] flat,
	// where they were kept (they are derivable, and name the layer that differs).
	Boundaries []Hash `json:"boundaries,omitempty"`
	ModelName  string `json:"model_name,omitempty"` // for people
}

// ModelInfo describes a model that an engine has open.
type ModelInfo struct {
	ID            ModelID `json:"id"`
	Name          string  `json:"name"`
	Architecture  string  `json:"architecture"`
	Parameters    uint64  `json:"parameters"`
	ContextLength int     `json:"context_length"`
	Vocabulary    int     `json:"vocabulary"`
	Layers        int     `json:"layers"`
	Width         int     `json:"width"` // elements of a hidden state and of an embedding
	Semantics     uint32  `json:"semantics"`
	// Pooling is how the model's file says that its embeddings are pooled; ""
	// where it does not say.
	Pooling Pooling `json:"pooling,omitempty"`
}
