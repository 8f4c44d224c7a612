package trial

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/model"
)

// forger makes false evidence out of true evidence.
type forger struct {
	*parties
	r       *rand.Rand
	engine  *model.Model // the true one
	options model.Options
	file    []byte
	tensors []gguf.Tensor
}

// forgery is one way to lie. It returns ok = false where what it made would be
// the truth: the answer that the model gives, signed by who should sign it.
type forgery struct {
	name string
	make func(ctx context.Context, f *forger, o *order, ev *core.Evidence) (ok bool, err error)
}

// edit is a forgery by whoever holds the file and no key.
func edit(name string, bend func(f *forger, ev *core.Evidence) bool) forgery {
	return forgery{name, func(_ context.Context, f *forger, _ *order, ev *core.Evidence) (bool, error) { return bend(f, ev), nil }}
}

// resign is a forgery by the provider: it signs what it bent.
func resign(name string, bend func(f *forger, ev *core.Evidence) bool) forgery {
	return forgery{name, func(_ context.Context, f *forger, _ *order, ev *core.Evidence) (bool, error) {
		return bend(f, ev), f.sign(ev)
	}}
}

// answered is a forgery by a provider that computes something else than was
// ordered and signs it as the answer to the order.
func answered(name string, other func(f *forger, in *core.SequenceInput)) forgery {
	return forgery{name, func(ctx context.Context, f *forger, o *order, ev *core.Evidence) (bool, error) {
		in := o.in
		in.Input = slices.Clone(in.Input)
		other(f, &in)
		return f.substitute(ctx, f.engine, in, o, ev)
	}}
}

var forgeries = []forgery{
	edit("output token, in the file", func(f *forger, ev *core.Evidence) bool { f.token(ev.Output); return true }),
	edit("input token, in the file", func(f *forger, ev *core.Evidence) bool { f.token(ev.Request.Input); return true }),
	edit("sampler, in the file", func(f *forger, ev *core.Evidence) bool { f.sampler(&ev.Request.Sampler); return true }),
	edit("nonce", func(f *forger, ev *core.Evidence) bool { f.flip(ev.Nonce[:]); return true }),
	edit("VRF proof", func(f *forger, ev *core.Evidence) bool {
		if len(ev.VRF) == 0 {
			return false
		}
		f.flip(ev.VRF)
		return true
	}),
	edit("boundary leaf, in the file", func(f *forger, ev *core.Evidence) bool {
		f.flip(ev.Boundaries[f.r.IntN(len(ev.Boundaries))][:])
		return true
	}),
	edit("receipt's signature", func(f *forger, ev *core.Evidence) bool { f.flip(ev.Receipt.Signature[:]); return true }),
	edit("request's signature", func(f *forger, ev *core.Evidence) bool { f.flip(ev.Request.Signature[:]); return true }),
	edit("price, in the file", func(f *forger, ev *core.Evidence) bool { f.price(ev); return true }),

	resign("seed", func(f *forger, ev *core.Evidence) bool { f.flip(ev.Receipt.Seed[:]); return true }),
	resign("price", func(f *forger, ev *core.Evidence) bool { f.price(ev); return true }),
	resign("count", func(f *forger, ev *core.Evidence) bool {
		switch r := &ev.Receipt; f.r.IntN(3) {
		case 0:
			r.Input += f.step(r.Input)
		case 1:
			r.Output += f.step(r.Output)
		default:
			r.Billed += 1 + f.r.Uint32N(100) // less would be a gift
		}
		return true
	}),
	resign("finish", func(f *forger, ev *core.Evidence) bool {
		// Who cancels may do so anywhere, so "cancelled" is never a lie.
		others := slices.DeleteFunc([]core.FinishReason{core.FinishStop, core.FinishLength, "", "error"},
			func(r core.FinishReason) bool { return r == ev.Receipt.Finish })
		ev.Receipt.Finish = others[f.r.IntN(len(others))]
		return true
	}),
	resign("boundary root", func(f *forger, ev *core.Evidence) bool {
		ev.Boundaries = nil
		f.flip(ev.Receipt.BoundaryRoot[:])
		return true
	}),
	resign("boundary root with its leaves", func(f *forger, ev *core.Evidence) bool {
		f.flip(ev.Boundaries[f.r.IntN(len(ev.Boundaries))][:])
		ev.Receipt.BoundaryRoot = merkle.Root(ev.Boundaries)
		return true
	}),
	resign("log-probability", func(f *forger, ev *core.Evidence) bool {
		if len(ev.Logprobs) == 0 {
			return false
		}
		i := f.r.IntN(len(ev.Logprobs))
		ev.Logprobs[i] = slices.Clone(ev.Logprobs[i])
		ev.Logprobs[i][f.r.IntN(len(ev.Logprobs[i]))].Value ^= 1 << f.r.IntN(16)
		ev.Receipt.Logprobs = core.HashLogprobs(ev.Logprobs)
		return true
	}),

	{"output token, with its trace", func(ctx context.Context, f *forger, o *order, ev *core.Evidence) (bool, error) {
		output := slices.Clone(ev.Output)
		f.token(output)
		return f.traced(ctx, o, ev, output)
	}},
	{"shorter answer", func(ctx context.Context, f *forger, o *order, ev *core.Evidence) (bool, error) {
		if len(ev.Output) < 2 {
			return false, nil
		}
		return f.traced(ctx, o, ev, ev.Output[:1+f.r.IntN(len(ev.Output)-1)])
	}},
	{"longer answer", func(ctx context.Context, f *forger, o *order, ev *core.Evidence) (bool, error) {
		return f.traced(ctx, o, ev, append(slices.Clone(ev.Output), core.Token(f.r.IntN(f.vocabulary()))))
	}},
	answered("another prompt", func(f *forger, in *core.SequenceInput) { f.token(in.Input) }),
	answered("another sampler", func(f *forger, in *core.SequenceInput) { f.sampler(&in.Sampler) }),
	answered("another seed", func(f *forger, in *core.SequenceInput) { f.flip(in.Seed[:]) }),
	{"a weight's bit", func(ctx context.Context, f *forger, o *order, ev *core.Evidence) (bool, error) {
		m, _, _, err := mutated(f.r, f.file, f.tensors, f.options)
		if err != nil {
			return false, err
		}
		defer m.Close()
		return f.substitute(ctx, m, o.in, o, ev)
	}},
}

// forge bends a copy of ev in one way, at a random place that makes a lie; ways
// that cannot, for this answer, are passed over.
func (f *forger) forge(ctx context.Context, o *order, ev core.Evidence, first int) (core.Evidence, string, error) {
	for i := range 20 * len(forgeries) {
		v, bent := forgeries[(first+i/4)%len(forgeries)], clone(ev)
		ok, err := v.make(ctx, f, o, &bent)
		if err != nil || ok {
			return bent, v.name, err
		}
	}
	return ev, "", fmt.Errorf("no forgery of receipt %s is a lie", ev.Receipt.Digest().Short())
}

func (f *forger) vocabulary() int { return f.engine.Info().Vocabulary }

// token replaces one token by another of the vocabulary.
func (f *forger) token(list []core.Token) {
	i, n := f.r.IntN(len(list)), f.vocabulary()
	list[i] = core.Token((int(list[i]) + 1 + f.r.IntN(n-1)) % n)
}

// flip changes one bit.
func (f *forger) flip(b []byte) { b[f.r.IntN(len(b))] ^= 1 << f.r.IntN(8) }

// step is one up or, where there is room, one down.
func (f *forger) step(n uint32) uint32 {
	if n > 0 && f.r.IntN(2) == 0 {
		return ^uint32(0)
	}
	return 1 + f.r.Uint32N(10)
}

func (f *forger) price(ev *core.Evidence) {
	p := &ev.Receipt.PriceIn
	if f.r.IntN(2) == 0 {
		p = &ev.Receipt.PriceOut
	}
	*p = core.NewAmount(p.Big().Uint64() ^ 1<<f.r.IntN(40))
}

// sampler changes one field, within what samplers may hold.
func (f *forger) sampler(s *core.Sampler) {
	switch f.r.IntN(8) {
	case 0:
		s.Temperature = (s.Temperature + 1 + f.r.Uint32N(core.MaxTemperature-1)) % core.MaxTemperature
	case 1:
		s.TopK += 1 + f.r.Uint32N(50)
	case 2:
		s.TopP = (s.TopP + 1 + f.r.Uint32N(999_999)) % 1_000_000
	case 3:
		s.MinP = (s.MinP + 1 + f.r.Uint32N(999_999)) % 1_000_000
	case 4:
		s.MaxTokens += 1 + f.r.Uint32N(4)
	case 5:
		s.IgnoreEOS = !s.IgnoreEOS
	case 6:
		s.PresencePenalty = (s.PresencePenalty + 1 + int32(f.r.IntN(1_000_000))) % core.MaxPenalty
	default:
		s.FrequencyPenalty = (s.FrequencyPenalty + 1 + int32(f.r.IntN(1_000_000))) % core.MaxPenalty
	}
}

// substitute signs what m answers to in as the answer to the order, if it is
// another one.
func (f *forger) substitute(ctx context.Context, m *model.Model, in core.SequenceInput, o *order, ev *core.Evidence) (bool, error) {
	got, err := generate(ctx, m, []core.SequenceInput{in})
	if err != nil {
		return false, err
	}
	truth := outcome{ev.Output, ev.Logprobs, ev.Boundaries, ev.Receipt.Finish}
	if !got[0].whole() || got[0].same(&truth) {
		return false, nil
	}
	*ev, err = f.seal(o, got[0])
	return true, err
}

// traced signs another output, with the trace that a model leaves that is fed
// with it.
func (f *forger) traced(ctx context.Context, o *order, ev *core.Evidence, output []core.Token) (bool, error) {
	own, err := f.engine.Replay(ctx, o.in, output)
	if err != nil {
		return false, err
	}
	a := outcome{output, own.Logprobs, own.Boundaries, ev.Receipt.Finish}
	if own.Finish != "" {
		a.finish = own.Finish
	}
	if o.in.Sampler.Logprobs > 0 && len(a.logprobs) != len(output) {
		return false, nil // it would contradict itself
	}
	*ev, err = f.seal(o, a)
	return true, err
}
