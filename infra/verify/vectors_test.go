package verify

import (
	"encoding/hex"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
)

// TestReceiptVectors publishes every digest of spec/receipt.md for one answer.
func TestReceiptVectors(t *testing.T) {
	ev := sampleEvidence(t)
	q := &ev.Request.Request
	seed, err := SeedFor(q, ev.Nonce, ev.VRF, ev.VRFKey)
	if err != nil {
		t.Fatal(err)
	}
	_, output, err := vrfFromSeed(t, unhexSeed).Prove(q.VRFInput())
	if err != nil {
		t.Fatal(err)
	}
	provider := testKey(t, 0x22)
	first := core.TokenChain(core.Hash{}, ev.Output[:5])
	progress := core.Progress{ID: q.ID, Provider: provider.Address(), Count: 5, Tokens: first}
	progress.Signature = sign(t, provider, progress.Digest(q.ChainID))
	user := uint64(42)
	chosen := *q
	chosen.UserSeed = &user
	chosenSeed := chosen.DeriveSeed(core.Hash{}, nil)
	resumed := *q
	resumed.Input = append(append([]core.Token{}, q.Input...), ev.Output[:5]...)
	resumed.Resume = &progress
	salt := q.Salt(seed)
	embedding := embeddingFor(t, &toy{model: core.Hash{2}})
	all := core.Sampler{Temperature: 700_000, MaxTokens: 12, RepetitionPenalty: 1_100_000, FrequencyPenalty: -250_000, PresencePenalty: 500_000,
		Bias: []core.TokenBias{{Token: 5, Bias: -100_000_000}, {Token: 9, Bias: 1_500_000}}, Logprobs: 3,
		Constraint: &core.Constraint{Grammar: `root ::= "yes" | "no"`, Trigger: "Answer: "}}
	probs := []core.TokenLogprobs{{{Token: 3, Value: -1_000_000}, {Token: 8, Value: -500_000}, {Token: 3, Value: -1_000_000}}, {{Token: 0, Value: 0}, {Token: 0, Value: 0}, {Token: 1, Value: -30_000_000}}}
	batch := []core.Hash{{1}, ev.Receipt.Digest(), {3}}
	proof, err := merkle.Prove(batch, 1)
	if err != nil {
		t.Fatal(err)
	}
	golden(t, "receipt.json", map[string]any{
		"evidence":              ev,
		"consumer_key":          hex.EncodeToString(repeat(0x11)),
		"provider_key":          hex.EncodeToString(repeat(0x22)),
		"vrf_seed":              hex.EncodeToString(unhexSeed),
		"tokens_hash_of_none":   core.HashTokens(nil),
		"input_hash":            core.HashTokens(q.Input),
		"output_hash":           core.HashTokens(ev.Output),
		"sampler_digest":        q.Sampler.Digest(),
		"request_digest":        q.Digest(),
		"request_user_seed_42":  chosen.Digest(),
		"request_resumed":       resumed.Digest(),
		"request_pooling_mean":  embedding.Request.Digest(),
		"embedding":             embedding.Embedding,
		"embedding_digest":      core.HashEmbedding(embedding.Embedding),
		"sampler_of_all":        all,
		"sampler_of_all_digest": all.Digest(),
		"logprobs":              probs,
		"logprobs_digest":       core.HashLogprobs(probs),
		"vrf_input":             core.Bytes(q.VRFInput()),
		"vrf_output":            core.Bytes(output),
		"seed":                  core.Hash(seed),
		"seed_user_seed_42":     core.Hash(chosenSeed),
		"seed_commitment":       seed.Commitment(),
		"token_chain_5":         first,
		"progress":              progress,
		"progress_digest":       progress.Digest(q.ChainID),
		"salt_key":              salt,
		"boundary_salt_3_1":     core.BoundarySalt(salt, 3, 1),
		"receipt_id":            ev.Receipt.Digest(),
		"batch":                 batch,
		"batch_root":            merkle.Root(batch),
		"batch_proof":           proof,
		"batch_root_of_none":    merkle.Root([]core.Hash{}),
	})
}

func repeat(b byte) []byte {
	out := make([]byte, 32)
	for i := range out {
		out[i] = b
	}
	return out
}
