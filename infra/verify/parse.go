package verify

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/vrf"
)

// Limits of a receipt file from a stranger.
const (
	MaxFile       = 64 << 20 // bytes
	MaxTokens     = 1 << 20  // input, and output
	MaxStops      = 64
	MaxText       = 4096    // bytes of a stop string or a name
	MaxGrammar    = 1 << 20 // bytes of a constraint
	MaxBiases     = 1 << 16
	MaxLogprobs   = 64 // of one output position
	maxPriceBits  = 128
	fileVersion   = 1
	maxBoundaries = MaxFile / 66 // a leaf is 64 digits and its quotes
)

// Parse reads a receipt file: one JSON object, a [core.Evidence]. It reads at
// most MaxFile bytes. Its error is a *[Rejected] with Malformed or Unsupported,
// or the reader's own.
func Parse(r io.Reader) (core.Evidence, error) {
	b, err := io.ReadAll(io.LimitReader(r, MaxFile+1))
	if err != nil {
		return core.Evidence{}, err
	}
	if len(b) > MaxFile {
		return core.Evidence{}, reject(Malformed, "", "the file is larger than %d MiB; no receipt is", MaxFile>>20)
	}
	// The version first: a later one may have fields that are unknown here.
	var head struct {
		Version *int `json:"version"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return core.Evidence{}, reject(Malformed, "", "the file is not a receipt: %v", err)
	}
	if head.Version == nil {
		return core.Evidence{}, reject(Malformed, "version", "the file is not a receipt: it has no version")
	}
	if *head.Version != fileVersion {
		return core.Evidence{}, reject(Unsupported, "version", "the file has version %d, this program reads version %d", *head.Version, fileVersion)
	}
	var ev core.Evidence
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(&ev); err != nil {
		return core.Evidence{}, reject(Malformed, "", "the file is not a receipt: %v", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return core.Evidence{}, reject(Malformed, "", "something follows the receipt in the file")
	}
	if bad := shape(&ev); bad != nil {
		return core.Evidence{}, bad
	}
	return ev, nil
}

// shape checks sizes and ranges, before anything is computed from them.
func shape(ev *core.Evidence) *Rejected {
	q := &ev.Request
	switch {
	case len(q.Input) == 0 || len(q.Input) > MaxTokens:
		return reject(Malformed, "request.input", "the input has %d tokens; it must have 1 to %d", len(q.Input), MaxTokens)
	case len(ev.Output) > MaxTokens:
		return reject(Malformed, "output", "the output has %d tokens; at most %d are allowed", len(ev.Output), MaxTokens)
	case uint64(q.Prompt) > uint64(len(q.Input)):
		return reject(Malformed, "request.prompt", "%d prompt tokens of %d input tokens", q.Prompt, len(q.Input))
	case len(q.Sampler.Stop) > MaxStops:
		return reject(Malformed, "request.sampler.stop", "%d stop strings; at most %d are allowed", len(q.Sampler.Stop), MaxStops)
	case len(q.Sampler.Bias) > MaxBiases:
		return reject(Malformed, "request.sampler.bias", "%d biases; at most %d are allowed", len(q.Sampler.Bias), MaxBiases)
	case q.Sampler.Constraint != nil && len(q.Sampler.Constraint.Grammar)+len(q.Sampler.Constraint.Trigger) > MaxGrammar:
		return reject(Malformed, "request.sampler.constraint", "a constraint is longer than %d bytes", MaxGrammar)
	case len(ev.Logprobs) > len(ev.Output):
		return reject(Malformed, "logprobs", "%d positions with log-probabilities and %d output tokens", len(ev.Logprobs), len(ev.Output))
	case len(ev.Embedding) > 4*core.MaxVector:
		return reject(Malformed, "embedding", "the embedding has %d bytes; at most %d are allowed", len(ev.Embedding), 4*core.MaxVector)
	case len(q.Pooling) > 32:
		return reject(Malformed, "request.pooling", "a name is too long")
	case len(ev.VRF) > vrf.ProofSize || len(ev.VRFKey) > vrf.KeySize:
		return reject(Malformed, "vrf", "the VRF proof or key is too long")
	case len(ev.Boundaries) > maxBoundaries:
		return reject(Malformed, "boundaries", "too many boundary leaves")
	case len(ev.ModelName) > MaxText || len(ev.Receipt.Finish) > 32:
		return reject(Malformed, "model_name", "a name is too long")
	}
	for _, s := range q.Sampler.Stop {
		if len(s) > MaxText {
			return reject(Malformed, "request.sampler.stop", "a stop string is longer than %d bytes", MaxText)
		}
	}
	for _, l := range ev.Logprobs {
		if len(l) > MaxLogprobs {
			return reject(Malformed, "logprobs", "%d log-probabilities at one position; at most %d are allowed", len(l), MaxLogprobs)
		}
	}
	for _, a := range []core.Amount{q.PriceIn, q.PriceOut, ev.Receipt.PriceIn, ev.Receipt.PriceOut} {
		if a.Big().BitLen() > maxPriceBits {
			return reject(Malformed, "price", "a price is beyond all money")
		}
	}
	for _, ids := range [][]core.Token{q.Input, ev.Output} {
		for _, t := range ids {
			if t < 0 {
				return reject(Malformed, "tokens", "token %d is in no vocabulary", t)
			}
		}
	}
	return nil
}
