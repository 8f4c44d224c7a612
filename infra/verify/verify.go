package verify

import (
	"bytes"
	"context"
	"fmt"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
)

// Verify checks the evidence as [Check] does and then re-executes the answer
// with engine, which must have the receipt's model open. It returns an error
// only when the engine could not do the work; a wrong answer is a Report.
func Verify(ctx context.Context, ev core.Evidence, engine core.Engine, f Facts) (Report, error) {
	r, _, err := examine(ctx, ev, engine, f)
	return r, err
}

// examine is Verify, and returns what the engine itself makes of the answer as
// far as it had to find out.
func examine(ctx context.Context, ev core.Evidence, engine core.Engine, f Facts) (Report, core.Replayed, error) {
	var own core.Replayed
	out, seed := check(&ev, f)
	if out.Verdict != Matches {
		return out, own, nil
	}
	if ev.Receipt.Tier() == core.TierStatistical {
		reference, ok := engine.(core.Reference)
		if !ok {
			out.Verdict, out.Message = Unproven, "an answer of the statistical tier, which this engine has no test for"
			return out, own, nil
		}
		_, out, err := Stand(ctx, ev, reference)
		return out, own, err
	}
	info := engine.Info()
	if bad := sameModel(&ev, info); bad != nil {
		bad.Receipt, bad.Consumer = out.Receipt, out.Consumer
		return bad.Report, own, nil
	}
	if ev.Request.Pooling != "" {
		r, err := embedding(ctx, &ev, engine, out)
		return r, own, err
	}
	if len(ev.Output) == 0 {
		if ev.Receipt.Finish != core.FinishCancelled {
			bad := reject(FinishDiffers, "receipt.finish", "an answer without tokens can only be a cancelled one")
			bad.Receipt, bad.Consumer = out.Receipt, out.Consumer
			return bad.Report, own, nil
		}
		out.Message = "matches: the answer was cancelled before its first token"
		return out, own, nil
	}
	replayed, err := engine.Replay(ctx, input(&ev, seed), ev.Output)
	if err != nil {
		return Report{}, own, fmt.Errorf("the answer could not be re-executed: %w", err)
	}
	bad := compare(&ev, replayed)
	if bad == nil {
		what := "the end"
		if len(ev.Logprobs) > 0 {
			what = "their log-probabilities, the end"
		}
		out.Message = fmt.Sprintf("matches: all %d tokens, %s and the boundary root are this engine's own", len(ev.Output), what)
		return out, replayed, nil
	}
	if bad.Boundary == nil {
		bad.Boundary = firstLeaf(&ev, replayed.Boundaries)
	}
	if bad.Boundary != nil {
		bad.Message += fmt.Sprintf("; the computation first differs at token %d, layer %d", bad.Boundary.Token, bad.Boundary.Layer)
	}
	bad.Receipt, bad.Consumer, bad.Unchecked = out.Receipt, out.Consumer, out.Unchecked
	return bad.Report, replayed, nil
}

func sameModel(ev *core.Evidence, info core.ModelInfo) *Rejected {
	if info.Semantics != core.NumericsOf(ev.Receipt.Semantics) {
		return reject(Unsupported, "receipt.semantics", "the engine follows semantics version %d, the receipt version %d", info.Semantics, core.NumericsOf(ev.Receipt.Semantics))
	}
	if info.ID != ev.Receipt.Model {
		return reject(WrongModel, "receipt.model", "the receipt is for model %s, the model at hand is %s (%s)", ev.Receipt.Model, info.ID, info.Name)
	}
	// The last output token is never fed, so it need not fit.
	if n := max(positions(ev), len(ev.Request.Input)); info.ContextLength > 0 && n > info.ContextLength {
		return reject(TokenDiffers, "output", "the answer fills %d positions, the model has %d", n, info.ContextLength)
	}
	for _, ids := range [][]core.Token{ev.Request.Input, ev.Output} {
		for _, t := range ids {
			if int(t) >= info.Vocabulary {
				return reject(TokenDiffers, "tokens", "token %d is not in the model's vocabulary of %d", t, info.Vocabulary)
			}
		}
	}
	return nil
}

// compare finds the first way in which the claimed answer is not the engine's.
func compare(ev *core.Evidence, own core.Replayed) *Rejected {
	claimed := ev.Output
	for i, t := range claimed {
		if own.Ended >= 0 && i > own.Ended {
			return tokenDiffers(i, t, NoToken)
		}
		if i >= len(own.Tokens) {
			return tokenDiffers(i, t, NoToken)
		}
		if own.Tokens[i] != t {
			return tokenDiffers(i, t, own.Tokens[i])
		}
	}
	if len(own.Tokens) > len(claimed) {
		return tokenDiffers(len(claimed), NoToken, own.Tokens[len(claimed)])
	}
	if bad := finish(ev, own); bad != nil {
		return bad
	}
	if merkle.Root(own.Boundaries) != ev.Receipt.BoundaryRoot {
		return reject(BoundaryDiffers, "receipt.boundary_root", "the tokens are right, but the boundary root is not this engine's")
	}
	return logprobs(ev.Logprobs, own.Logprobs)
}

// logprobs finds the first log-probability that is not the engine's. The tokens
// are known to be the same.
func logprobs(claimed, own []core.TokenLogprobs) *Rejected {
	for i, c := range claimed {
		var o core.TokenLogprobs
		if i < len(own) {
			o = own[i]
		}
		for k := range max(len(c), len(o)) {
			var d LogprobDiff
			if k < len(c) {
				d.Claimed = &c[k]
			}
			if k < len(o) {
				d.Own = &o[k]
			}
			if d.Claimed != nil && d.Own != nil && *d.Claimed == *d.Own {
				continue
			}
			d.Position, d.Rank = i, k
			bad := reject(LogprobDiffers, "logprobs", "the log-probability at output token %d, rank %d differs: claimed %s, this engine has %s",
				i, k, describeLogprob(d.Claimed), describeLogprob(d.Own))
			bad.Logprob = &d
			return bad
		}
	}
	return nil
}

func describeLogprob(p *core.Logprob) string {
	if p == nil {
		return "none"
	}
	return fmt.Sprintf("%.6f for token %d", float64(p.Value)/1e6, p.Token)
}

// embedding computes the vector again and compares every bit of it.
func embedding(ctx context.Context, ev *core.Evidence, engine core.Engine, out Report) (Report, error) {
	if len(ev.Embedding) == 0 {
		out.Message = "matches: the embedding was cancelled"
		return out, nil
	}
	own, err := engine.Embed(ctx, [][]core.Token{ev.Request.Input}, ev.Request.Pooling)
	if core.CodeOf(err) == core.CodeInvalid {
		bad := reject(EmbeddingDiffers, "embedding", "the model gives no such embedding: %v", err)
		bad.Receipt, bad.Consumer, bad.Unchecked = out.Receipt, out.Consumer, out.Unchecked
		return bad.Report, nil
	}
	if err != nil {
		return Report{}, fmt.Errorf("the embedding could not be computed again: %w", err)
	}
	mine := core.EncodeVector(own[0])
	if bytes.Equal(mine, ev.Embedding) {
		out.Message = fmt.Sprintf("matches: all %d numbers of the embedding are this engine's own", len(own[0]))
		return out, nil
	}
	bad := reject(EmbeddingDiffers, "embedding", "the embedding has %d bytes, this engine's has %d", len(ev.Embedding), len(mine))
	if len(mine) == len(ev.Embedding) {
		i := 0
		for mine[i] == ev.Embedding[i] {
			i++
		}
		bad = reject(EmbeddingDiffers, "embedding", "the embedding first differs at number %d of %d", i/4, len(own[0]))
	}
	bad.Receipt, bad.Consumer, bad.Unchecked = out.Receipt, out.Consumer, out.Unchecked
	return bad.Report, nil
}

// finish checks the end. A cancelled answer may end anywhere.
func finish(ev *core.Evidence, own core.Replayed) *Rejected {
	claimed := ev.Receipt.Finish
	if claimed == core.FinishCancelled || claimed == own.Finish {
		return nil
	}
	if own.Finish == "" {
		return reject(FinishDiffers, "receipt.finish", "the answer claims to end (%s) after %d tokens, this engine would have gone on", claimed, len(ev.Output))
	}
	return reject(FinishDiffers, "receipt.finish", "the answer ends for reason %q, this engine's for %q", claimed, own.Finish)
}

func tokenDiffers(position int, claimed, own core.Token) *Rejected {
	var r *Rejected
	switch {
	case own == NoToken:
		r = reject(TokenDiffers, "output", "output token %d is padding: this engine would have ended before it", position)
	case claimed == NoToken:
		r = reject(TokenDiffers, "output", "output token %d is missing: this engine has one more", position)
	default:
		r = reject(TokenDiffers, "output", "output token %d differs: claimed %d, this engine draws %d", position, claimed, own)
	}
	r.Token = &TokenDiff{position, claimed, own}
	return r
}

// firstLeaf locates the first differing leaf, when the file has the leaves.
func firstLeaf(ev *core.Evidence, own []core.Hash) *Boundary {
	n := positions(ev)
	if len(ev.Boundaries) == 0 || n <= 0 {
		return nil
	}
	layers := len(ev.Boundaries) / n
	if len(own) != len(ev.Boundaries) || layers == 0 {
		return nil
	}
	for i := range own {
		if own[i] != ev.Boundaries[i] {
			return &Boundary{Token: i / layers, Layer: i % layers}
		}
	}
	return nil
}
