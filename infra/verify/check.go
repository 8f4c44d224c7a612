package verify

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/voucher"
)

// Facts are what the chain knows; each is optional and checked when set.
type Facts struct {
	// Signer is the voucher signer of the receipt's channel.
	Signer *core.Address
	// VRFKey is the provider's registered ed25519 key.
	VRFKey []byte
	// Batch and Inclusion place the receipt under a root committed on chain.
	Batch     *core.ReceiptBatch
	Inclusion *merkle.Proof[core.Hash]
}

// Check examines everything that needs no model: versions, signatures, hashes,
// counts, prices, the VRF and the seed. Its verdict Matches means that the
// evidence is consistent, not that the answer is right: [Verify] finds that out.
func Check(ev core.Evidence, f Facts) Report {
	report, _ := check(&ev, f)
	return report
}

func check(ev *core.Evidence, f Facts) (Report, core.Seed) {
	id := ev.Receipt.Digest()
	out := Report{Verdict: Matches, Receipt: id, Message: "signatures, hashes and seed are consistent"}
	var seed core.Seed
	steps := []func() *Rejected{
		func() *Rejected { return supported(ev) },
		func() *Rejected { return shape(ev) },
		func() *Rejected { return signedByProvider(ev, id) },
		func() *Rejected { return contents(ev) },
		func() *Rejected { return resumed(ev) },
		func() (bad *Rejected) { out.Consumer, bad = signedByConsumer(ev, f); return bad },
		func() (bad *Rejected) { seed, bad = seedOf(ev, f); return bad },
		func() *Rejected { return leaves(ev) },
		func() *Rejected { return committed(ev, f, id) },
	}
	for _, step := range steps {
		if bad := step(); bad != nil {
			bad.Receipt, bad.Consumer = id, out.Consumer
			return bad.Report, seed
		}
	}
	if f.Signer == nil {
		out.Unchecked = append(out.Unchecked, "that the consumer is the channel's signer")
	}
	if f.VRFKey == nil && ev.Request.UserSeed == nil {
		out.Unchecked = append(out.Unchecked, "that the VRF key is the provider's registered one")
	}
	if f.Batch == nil {
		out.Unchecked = append(out.Unchecked, "that the receipt is committed on chain")
	}
	return out, seed
}

func supported(ev *core.Evidence) *Rejected {
	if ev.Version != fileVersion {
		return reject(Unsupported, "version", "the evidence has version %d, this program knows version %d", ev.Version, fileVersion)
	}
	if !core.KnownSemantics(ev.Receipt.Semantics) {
		return reject(Unsupported, "receipt.semantics", "the answer follows semantics version %d, this program knows versions %d and %d; that proves nothing against it", ev.Receipt.Semantics, core.SemanticsV1, core.SemanticsKV8)
	}
	return nil
}

func signedByProvider(ev *core.Evidence, id core.ReceiptID) *Rejected {
	if err := voucher.VerifyDigest(id, ev.Receipt.Signature, ev.Receipt.Provider); err != nil {
		return reject(WrongSignature, "receipt.signature", "provider %s did not sign this receipt: %v", ev.Receipt.Provider, err)
	}
	return nil
}

func signedByConsumer(ev *core.Evidence, f Facts) (core.Address, *Rejected) {
	who, err := voucher.Recover(ev.Request.Digest(), ev.Request.Signature)
	if err != nil {
		return who, reject(WrongSignature, "request.signature", "the consumer's signature over the request is not valid: %v", err)
	}
	if f.Signer != nil && who != *f.Signer {
		return who, reject(WrongSignature, "request.signature", "the request is signed by %s, the channel's signer is %s", who, *f.Signer)
	}
	return who, nil
}

// contents holds what the file shows against what the provider signed.
func contents(ev *core.Evidence) *Rejected {
	q, r := &ev.Request.Request, &ev.Receipt.Receipt
	given := uint64(len(q.Input)) - uint64(q.Prompt)
	for _, c := range []struct {
		field string
		same  bool
	}{
		{"request", r.RequestHash == q.Digest()},
		{"request.input", r.InputHash == core.HashTokens(q.Input)},
		{"output", r.OutputHash == outputHash(ev)},
		{"logprobs", r.Logprobs == core.HashLogprobs(ev.Logprobs)},
		{"logprobs", q.Sampler.Logprobs == 0 && len(ev.Logprobs) == 0 || q.Sampler.Logprobs > 0 && len(ev.Logprobs) == len(ev.Output)},
		{"output", q.Pooling == "" || len(ev.Output) == 0},
		{"receipt.boundary_root", q.Pooling == "" && r.Tier() == core.TierExact || r.BoundaryRoot.IsZero()},
		{"embedding", (q.Pooling == "") == (len(ev.Embedding) == 0) || r.Finish == core.FinishCancelled && len(ev.Embedding) == 0},
		{"request.sampler", r.Sampler == q.Sampler.Digest()},
		{"receipt.n_in", uint64(r.Input) == uint64(len(q.Input))},
		{"receipt.n_out", uint64(r.Output) == uint64(len(ev.Output))},
		{"receipt.n_out", given+uint64(len(ev.Output)) <= uint64(q.Sampler.MaxTokens)},
		{"receipt.billed_in", r.Billed <= q.Prompt},
		{"receipt.chain_id", r.ChainID == q.ChainID},
		{"receipt.semantics", r.Semantics == q.Semantics},
		{"receipt.model", r.Model == q.Model},
		{"receipt.request", r.Request == q.ID},
		{"receipt.provider", r.Provider == q.Provider},
		{"receipt.channel", r.Channel == q.Channel},
		{"receipt.price_in", r.PriceIn.Cmp(q.PriceIn) == 0},
		{"receipt.price_out", r.PriceOut.Cmp(q.PriceOut) == 0},
		{"receipt.expiry", r.Expiry > r.Issued},
		{"receipt.finish", r.Finish == core.FinishStop || r.Finish == core.FinishLength || r.Finish == core.FinishCancelled},
	} {
		if !c.same {
			return reject(Tampered, c.field, "the file was altered, or the provider signed something else: %s does not fit the signed receipt", c.field)
		}
	}
	return nil
}

// outputHash is what the receipt must commit to: the tokens, or the vector.
func outputHash(ev *core.Evidence) core.Hash {
	if ev.Request.Pooling != "" {
		return core.HashEmbedding(ev.Embedding)
	}
	return core.HashTokens(ev.Output)
}

// resumed checks a continuation's proof that its unbilled input was delivered.
func resumed(ev *core.Evidence) *Rejected {
	if err := CheckResume(&ev.Request.Request); err != nil {
		verdict := Tampered
		if errors.Is(err, errResumeSignature) {
			verdict = WrongSignature
		}
		return reject(verdict, "request.resume", "%v", err)
	}
	return nil
}

var errResumeSignature = errors.New("the resumed progress is not signed by its provider")

// CheckResume checks that the input after the prompt is what Resume's provider
// signed as delivered: count, token chain and signature. That its provider is
// registered is for the caller to know.
func CheckResume(q *core.Request) error {
	if uint64(q.Prompt) > uint64(len(q.Input)) {
		return errors.New("the prompt is longer than the input")
	}
	rest := q.Input[q.Prompt:]
	p := q.Resume
	if p == nil {
		if len(rest) > 0 {
			return fmt.Errorf("%d input tokens are not billed, and no progress proves that they were delivered", len(rest))
		}
		return nil
	}
	if uint64(p.Count) != uint64(len(rest)) || p.Tokens != core.TokenChain(core.Hash{}, rest) {
		return errors.New("the resumed progress is about other tokens")
	}
	if voucher.VerifyDigest(p.Digest(q.ChainID), p.Signature, p.Provider) != nil {
		return errResumeSignature
	}
	return nil
}

func seedOf(ev *core.Evidence, f Facts) (core.Seed, *Rejected) {
	q := &ev.Request.Request
	if q.UserSeed == nil && f.VRFKey != nil && !bytes.Equal(f.VRFKey, ev.VRFKey) {
		return core.Seed{}, reject(WrongSignature, "vrf_key", "the VRF key is not the one that provider %s registered", q.Provider)
	}
	seed, err := SeedFor(q, ev.Nonce, ev.VRF, ev.VRFKey)
	switch {
	case errors.Is(err, ErrNonce):
		return seed, reject(Tampered, "nonce", "%v", err)
	case err != nil:
		return seed, reject(WrongSignature, "vrf", "%v", err)
	case seed.Commitment() != ev.Receipt.Seed && !(ev.Receipt.Seed.IsZero() && ev.Receipt.Tier() == core.TierStatistical):
		return seed, reject(Tampered, "receipt.seed", "the seed of the receipt is not the one that nonce and VRF give")
	}
	return seed, nil
}

// positions is how many tokens the answer fed to the model: the last output
// token never was.
func positions(ev *core.Evidence) int { return len(ev.Request.Input) + len(ev.Output) - 1 }

func leaves(ev *core.Evidence) *Rejected {
	if len(ev.Boundaries) == 0 || len(ev.Output) == 0 {
		return nil
	}
	if len(ev.Boundaries)%positions(ev) != 0 || merkle.Root(ev.Boundaries) != ev.Receipt.BoundaryRoot {
		return reject(Tampered, "boundaries", "the boundary leaves do not belong to the signed root")
	}
	return nil
}

func committed(ev *core.Evidence, f Facts, id core.ReceiptID) *Rejected {
	if f.Batch == nil {
		return nil
	}
	if f.Batch.Provider != ev.Receipt.Provider || f.Inclusion == nil || f.Inclusion.Size != uint64(f.Batch.Count) || !merkle.Verify(f.Batch.Root, id, *f.Inclusion) {
		return reject(Tampered, "batch", "the receipt is not in batch %d of provider %s", f.Batch.Sequence, f.Batch.Provider)
	}
	return nil
}
