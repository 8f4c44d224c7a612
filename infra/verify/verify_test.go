package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/core/merkle"
)

func verdict(t *testing.T, ev core.Evidence) Report {
	t.Helper()
	r, err := Verify(context.Background(), ev, &toy{model: core.Hash{2}}, Facts{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestHonestAnswerMatches(t *testing.T) {
	r := verdict(t, sampleEvidence(t))
	if r.Verdict != Matches || r.ExitCode() != 0 || r.Consumer != testKey(t, 0x11).Address() {
		t.Fatalf("%+v", r)
	}
	if len(r.Unchecked) != 3 {
		t.Errorf("without facts, unchecked is %v", r.Unchecked)
	}
}

// Each way to alter a file, and what the reader is told.
func TestAlteredEvidence(t *testing.T) {
	user := uint64(5)
	for _, c := range []struct {
		what    string
		verdict Verdict
		exit    int
		field   string
		bend    func(ev *core.Evidence)
	}{
		{"edited output", Tampered, 4, "output", func(ev *core.Evidence) { ev.Output[1]++ }},
		{"dropped output token", Tampered, 4, "output", func(ev *core.Evidence) { ev.Output = ev.Output[:len(ev.Output)-1] }},
		{"injected prompt", Tampered, 4, "request", func(ev *core.Evidence) { ev.Request.Input[0]++ }},
		{"another temperature", Tampered, 4, "request", func(ev *core.Evidence) { ev.Request.Sampler.Temperature = 0 }},
		{"another nonce", Tampered, 4, "nonce", func(ev *core.Evidence) { ev.Nonce[5] ^= 1 }},
		{"edited leaves", Tampered, 4, "boundaries", func(ev *core.Evidence) { ev.Boundaries[3][0] ^= 1 }},
		{"missing leaf", Tampered, 4, "boundaries", func(ev *core.Evidence) { ev.Boundaries = ev.Boundaries[1:] }},
		{"edited price", WrongSignature, 3, "receipt.signature", func(ev *core.Evidence) { ev.Receipt.PriceOut = core.NewAmount(1) }},
		{"another provider", WrongSignature, 3, "receipt.signature", func(ev *core.Evidence) { ev.Receipt.Provider[0] ^= 1 }},
		{"bent signature", WrongSignature, 3, "receipt.signature", func(ev *core.Evidence) { ev.Receipt.Signature[7] ^= 1 }},
		{"bent request signature", WrongSignature, 3, "request.signature", func(ev *core.Evidence) { ev.Request.Signature[64] = 9 }},
		{"another VRF proof", WrongSignature, 3, "vrf", func(ev *core.Evidence) { ev.VRF[3] ^= 1 }},
		{"another VRF key", WrongSignature, 3, "vrf", func(ev *core.Evidence) { ev.VRFKey[3] ^= 1 }},
		{"later file version", Unsupported, 8, "version", func(ev *core.Evidence) { ev.Version = 2 }},
		{"unknown semantics", Unsupported, 8, "receipt.semantics", func(ev *core.Evidence) { ev.Receipt.Semantics = 2; reseal(t, ev) }},
		{"negative token", Malformed, 2, "tokens", func(ev *core.Evidence) { ev.Output[0] = -5 }},
		{"prompt beyond the input", Malformed, 2, "request.prompt", func(ev *core.Evidence) { ev.Request.Prompt = 5 }},
		// What a dishonest provider signs with its own key.
		{"overbilled prompt", Tampered, 4, "receipt.billed_in", func(ev *core.Evidence) { ev.Receipt.Billed++; reseal(t, ev) }},
		{"overstated length", Tampered, 4, "receipt.n_out", func(ev *core.Evidence) { ev.Receipt.Output++; reseal(t, ev) }},
		{"raised price", Tampered, 4, "receipt.price_out", func(ev *core.Evidence) { ev.Receipt.PriceOut = core.NewAmount(1 << 60); reseal(t, ev) }},
		{"replay for another channel", Tampered, 4, "receipt.channel", func(ev *core.Evidence) { ev.Receipt.Channel[0] ^= 1; reseal(t, ev) }},
		{"replay for another chain", Tampered, 4, "receipt.chain_id", func(ev *core.Evidence) { ev.Receipt.ChainID++; reseal(t, ev) }},
		{"ground seed", Tampered, 4, "receipt.seed", func(ev *core.Evidence) { ev.Receipt.Seed[0] ^= 1; reseal(t, ev) }},
		{"invented user seed", Tampered, 4, "request", func(ev *core.Evidence) { ev.Request.UserSeed = &user }},
		{"other sampler", Tampered, 4, "request.sampler", func(ev *core.Evidence) { ev.Receipt.Sampler[0] ^= 1; reseal(t, ev) }},
		{"unknown finish", Tampered, 4, "receipt.finish", func(ev *core.Evidence) { ev.Receipt.Finish = "bored"; reseal(t, ev) }},
	} {
		ev := sampleEvidence(t)
		c.bend(&ev)
		engine := &toy{model: core.Hash{2}}
		r, err := Verify(context.Background(), ev, engine, Facts{})
		if err != nil {
			t.Fatal(err)
		}
		if r.Verdict != c.verdict || r.ExitCode() != c.exit || r.Field != c.field || r.Message == "" {
			t.Errorf("%s: %s (exit %d) at %q: %s", c.what, r.Verdict, r.ExitCode(), r.Field, r.Message)
		}
		if engine.replayed != 0 {
			t.Errorf("%s: the engine worked for nothing", c.what)
		}
	}
}

// answered replaces the output by a dishonest provider's, signed and with a
// trace that fits.
func answered(t *testing.T, ev *core.Evidence, output []core.Token, finish core.FinishReason) {
	t.Helper()
	q := &ev.Request.Request
	seed, err := SeedFor(q, ev.Nonce, ev.VRF, ev.VRFKey)
	if err != nil {
		t.Fatal(err)
	}
	own, _ := (&toy{model: core.Hash{2}}).Replay(context.Background(), core.SequenceInput{Input: q.Input, Sampler: q.Sampler, Seed: seed, Salt: q.Salt(seed)}, output)
	ev.Output, ev.Boundaries = output, own.Boundaries
	ev.Receipt.Output, ev.Receipt.OutputHash, ev.Receipt.Finish = uint32(len(output)), core.HashTokens(output), finish
	ev.Receipt.BoundaryRoot = merkle.Root(own.Boundaries)
	reseal(t, ev)
}

func TestDishonestAnswers(t *testing.T) {
	honest := sampleEvidence(t)
	n := len(honest.Output)
	if n != 12 || honest.Receipt.Finish != core.FinishLength {
		t.Fatalf("the sample has %d tokens and ends by %s", n, honest.Receipt.Finish)
	}
	t.Run("wrong token", func(t *testing.T) {
		ev := sampleEvidence(t)
		out := slices.Clone(ev.Output)
		own := out[5]
		out[5] = (own + 1) % toyVocabulary
		answered(t, &ev, out, core.FinishLength)
		r := verdict(t, ev)
		if r.Verdict != TokenDiffers || r.ExitCode() != 6 || *r.Token != (TokenDiff{5, out[5], own}) {
			t.Fatalf("%+v %+v", r, r.Token)
		}
	})
	t.Run("early stop", func(t *testing.T) {
		for _, finish := range []core.FinishReason{core.FinishStop, core.FinishLength} {
			ev := sampleEvidence(t)
			answered(t, &ev, ev.Output[:6], finish)
			if r := verdict(t, ev); r.Verdict != FinishDiffers || r.ExitCode() != 6 {
				t.Fatalf("%+v", r)
			}
		}
	})
	t.Run("cancelled anywhere", func(t *testing.T) {
		ev := sampleEvidence(t)
		answered(t, &ev, ev.Output[:6], core.FinishCancelled)
		if r := verdict(t, ev); r.Verdict != Matches {
			t.Fatalf("%+v", r)
		}
	})
	t.Run("padding", func(t *testing.T) {
		// The consumer's limit is far away, so only the end token ends the answer.
		q := sampleRequest(t)
		q.Sampler.MaxTokens = 900
		q.Signature = sign(t, testKey(t, 0x11), q.Digest())
		ev := evidenceFor(t, q, &toy{model: core.Hash{2}}, 900)
		if ev.Receipt.Finish != core.FinishStop {
			t.Fatalf("the toy never ended: %s", ev.Receipt.Finish)
		}
		if r := verdict(t, ev); r.Verdict != Matches {
			t.Fatalf("%+v", r)
		}
		n := len(ev.Output)
		// Go on past the end token with tokens that the toy would draw there.
		seed, _ := SeedFor(&q.Request, ev.Nonce, ev.VRF, ev.VRFKey)
		all := append(slices.Clone(q.Input), ev.Output...)
		next := (&toy{model: core.Hash{2}}).draw(core.SequenceInput{Seed: seed}, all)
		answered(t, &ev, append(slices.Clone(ev.Output), next), core.FinishStop)
		r := verdict(t, ev)
		if r.Verdict != TokenDiffers || r.Token.Position != n || r.Token.Own != NoToken {
			t.Fatalf("%+v %+v", r, r.Token)
		}
	})
	t.Run("other computation, same tokens", func(t *testing.T) {
		ev := evidenceFor(t, sampleRequest(t), &toy{model: core.Hash{2}, twist: 7}, 1000)
		r := verdict(t, ev)
		if r.Verdict != BoundaryDiffers || r.ExitCode() != 7 || r.Boundary == nil || *r.Boundary != (Boundary{Token: 7, Layer: 1}) {
			t.Fatalf("%+v %+v", r, r.Boundary)
		}
		ev.Boundaries = nil // the root alone convicts as well
		if r := verdict(t, ev); r.Verdict != BoundaryDiffers || r.Boundary != nil {
			t.Fatalf("%+v", r)
		}
	})
	t.Run("wrong model", func(t *testing.T) {
		r, err := Verify(context.Background(), sampleEvidence(t), &toy{model: core.Hash{8}}, Facts{})
		if err != nil || r.Verdict != WrongModel || r.ExitCode() != 5 {
			t.Fatalf("%+v, %v", r, err)
		}
	})
	t.Run("token outside the vocabulary", func(t *testing.T) {
		ev := sampleEvidence(t)
		ev.Output[0] = toyVocabulary
		ev.Receipt.OutputHash = core.HashTokens(ev.Output)
		reseal(t, &ev)
		if r := verdict(t, ev); r.Verdict != TokenDiffers {
			t.Fatalf("%+v", r)
		}
	})
	t.Run("no tokens", func(t *testing.T) {
		ev := sampleEvidence(t)
		ev.Output, ev.Boundaries = nil, nil
		ev.Receipt.Output, ev.Receipt.OutputHash = 0, core.HashTokens(nil)
		reseal(t, &ev)
		if r := verdict(t, ev); r.Verdict != FinishDiffers {
			t.Fatalf("%+v", r)
		}
		ev.Receipt.Finish = core.FinishCancelled
		reseal(t, &ev)
		if r := verdict(t, ev); r.Verdict != Matches {
			t.Fatalf("%+v", r)
		}
	})
}

// An option of the semantics makes another model of the same file: only an engine
// with that option judges its answers.
func TestSemanticsWithAnOption(t *testing.T) {
	file := core.ModelID{2}
	plain := &toy{model: core.ModelVariant(file, core.SemanticsV1)}
	int8 := &toy{model: core.ModelVariant(file, core.SemanticsKV8), semantics: core.SemanticsKV8}
	answeredBy := func(e *toy) core.Evidence {
		q := sampleRequest(t)
		q.Model, q.Semantics = e.model, e.Info().Semantics
		q.Signature = sign(t, testKey(t, 0x11), q.Digest())
		return evidenceFor(t, q, e, 1000)
	}
	for _, c := range []struct {
		what    string
		by      *toy // who answered
		engine  *toy // who judges
		bend    func(ev *core.Evidence)
		verdict Verdict
		field   string
	}{
		{"its own engine", int8, int8, nil, Matches, ""},
		{"the same file without the option", int8, plain, nil, Unsupported, "receipt.semantics"},
		{"a plain receipt, and an engine with the option", plain, int8, nil, Unsupported, "receipt.semantics"},
		{"another file with the option", int8, &toy{model: core.ModelVariant(core.ModelID{8}, core.SemanticsKV8), semantics: core.SemanticsKV8}, nil, WrongModel, "receipt.model"},
		{"an option nobody knows", int8, int8, func(ev *core.Evidence) { ev.Receipt.Semantics |= 1 << 20 }, Unsupported, "receipt.semantics"},
		{"passed off as the plain model's", int8, plain, func(ev *core.Evidence) { ev.Receipt.Semantics, ev.Receipt.Model = core.SemanticsV1, plain.model }, Tampered, "receipt.semantics"},
		{"an answer of the plain engine under the option", plain, int8, func(ev *core.Evidence) {
			q := &ev.Request
			q.Model, q.Semantics = int8.model, core.SemanticsKV8
			q.Signature = sign(t, testKey(t, 0x11), q.Digest())
			ev.Receipt.Model, ev.Receipt.Semantics, ev.Receipt.RequestHash = int8.model, core.SemanticsKV8, q.Digest()
		}, TokenDiffers, "output"},
	} {
		ev := answeredBy(c.by)
		if c.bend != nil {
			c.bend(&ev)
			reseal(t, &ev)
		}
		js, err := json.Marshal(ev)
		if err != nil {
			t.Fatal(err)
		}
		if ev, err = Parse(bytes.NewReader(js)); err != nil {
			t.Fatal(err)
		}
		r, err := Verify(t.Context(), ev, c.engine, Facts{})
		if err != nil || r.Verdict != c.verdict || r.Field != c.field {
			t.Errorf("%s: %s at %q (%s), %v", c.what, r.Verdict, r.Field, r.Message, err)
		}
	}
}

func TestUserSeedNeedsNoVRF(t *testing.T) {
	q := sampleRequest(t)
	user := uint64(42)
	q.UserSeed = &user
	q.Signature = sign(t, testKey(t, 0x11), q.Digest())
	if r := verdict(t, evidenceFor(t, q, &toy{model: core.Hash{2}}, 1000)); r.Verdict != Matches {
		t.Fatalf("%+v", r)
	}
}

// An answer that was continued on a second provider proves its unbilled input.
func TestContinuation(t *testing.T) {
	first := testKey(t, 0x44)
	q := sampleRequest(t)
	delivered := []core.Token{9, 8, 7}
	q.Input = append(slices.Clone(q.Input), delivered...)
	p := core.Progress{ID: core.Hash{77}, Provider: first.Address(), Count: 3, Tokens: core.TokenChain(core.Hash{}, delivered)}
	p.Signature = sign(t, first, p.Digest(q.ChainID))
	q.Resume = &p
	resign := func(q *core.SignedRequest) { q.Signature = sign(t, testKey(t, 0x11), q.Digest()) }
	resign(&q)
	ev := evidenceFor(t, q, &toy{model: core.Hash{2}}, 1000)
	if len(ev.Output) != 9 {
		t.Fatalf("%d tokens after 3 of 12", len(ev.Output))
	}
	if r := verdict(t, ev); r.Verdict != Matches {
		t.Fatalf("%+v", r)
	}
	for what, bend := range map[string]func(q *core.SignedRequest){
		"no progress":        func(q *core.SignedRequest) { q.Resume = nil },
		"other tokens":       func(q *core.SignedRequest) { q.Input[5]++ },
		"fewer tokens":       func(q *core.SignedRequest) { q.Prompt++ },
		"unsigned progress":  func(q *core.SignedRequest) { c := *q.Resume; c.Signature[3] ^= 1; q.Resume = &c },
		"another chain's":    func(q *core.SignedRequest) { q.ChainID++ },
		"progress for fresh": func(q *core.SignedRequest) { q.Input = q.Input[:4] },
	} {
		bent := q
		bent.Input = slices.Clone(q.Input)
		bend(&bent)
		if err := CheckResume(&bent.Request); err == nil {
			t.Errorf("%s was accepted", what)
		}
	}
}

func TestFactsFromTheChain(t *testing.T) {
	ev := sampleEvidence(t)
	consumer, other := testKey(t, 0x11).Address(), testKey(t, 0x55).Address()
	ids := []core.Hash{{1}, ev.Receipt.Digest(), {3}}
	proof, err := merkle.Prove(ids, 1)
	if err != nil {
		t.Fatal(err)
	}
	good := core.ReceiptBatch{Provider: ev.Receipt.Provider, Sequence: 4, Root: merkle.Root(ids), Count: 3}
	if r := Check(ev, Facts{Signer: &consumer, VRFKey: ev.VRFKey, Batch: &good, Inclusion: &proof}); r.Verdict != Matches || len(r.Unchecked) != 0 {
		t.Fatalf("%+v", r)
	}
	if r := Check(ev, Facts{Signer: &other}); r.Verdict != WrongSignature || r.Consumer != consumer {
		t.Errorf("another channel signer: %+v", r)
	}
	if r := Check(ev, Facts{VRFKey: make([]byte, 32)}); r.Verdict != WrongSignature {
		t.Errorf("an unregistered VRF key: %+v", r)
	}
	elsewhere := good
	elsewhere.Root[0] ^= 1
	if r := Check(ev, Facts{Batch: &elsewhere, Inclusion: &proof}); r.Verdict != Tampered {
		t.Errorf("another batch: %+v", r)
	}
	if r := Check(ev, Facts{Batch: &good}); r.Verdict != Tampered {
		t.Errorf("a batch without a proof: %+v", r)
	}
}

func TestParse(t *testing.T) {
	ev := sampleEvidence(t)
	js, err := json.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	back, err := Parse(bytes.NewReader(js))
	if err != nil || back.Receipt.Digest() != ev.Receipt.Digest() || verdict(t, back).Verdict != Matches {
		t.Fatalf("round trip: %v", err)
	}
	text := string(js)
	for what, c := range map[string]struct {
		file    string
		verdict Verdict
	}{
		"empty":             {"", Malformed},
		"not JSON":          {"receipt", Malformed},
		"a list":            {"[1]", Malformed},
		"no version":        {"{}", Malformed},
		"truncated":         {text[:len(text)/2], Malformed},
		"trailing":          {text + "{}", Malformed},
		"unknown field":     {strings.Replace(text, `"nonce":`, `"nunce":`, 1), Malformed},
		"later version":     {`{"version":2,"proof":"new"}`, Unsupported},
		"huge price":        {strings.Replace(text, `"price_in":"1000000000"`, `"price_in":"`+strings.Repeat("9", 77)+`"`, 1), Malformed},
		"negative token":    {strings.Replace(text, `"input":[1,`, `"input":[-1,`, 1), Malformed},
		"deep nesting":      {`{"version":` + strings.Repeat("[", 100_000), Malformed},
		"a token too large": {strings.Replace(text, `"input":[1,`, `"input":[4294967296,`, 1), Malformed},
	} {
		_, err := Parse(strings.NewReader(c.file))
		var bad *Rejected
		if !errors.As(err, &bad) || bad.Verdict != c.verdict || bad.Message == "" {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Parse(&endless{}); err == nil {
		t.Error("an endless file was accepted")
	}
}

// endless is a file of spaces that never stops.
type endless struct{ n int }

func (e *endless) Read(b []byte) (int, error) {
	for i := range b {
		b[i] = ' '
	}
	if e.n += len(b); e.n > 2*MaxFile {
		return 0, errors.New("read far beyond the limit")
	}
	return len(b), nil
}

func FuzzParse(f *testing.F) {
	js, err := json.Marshal(sampleEvidence(f))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(js)
	if js, err = json.Marshal(embeddingFor(f, &toy{model: core.Hash{2}})); err != nil {
		f.Fatal(err)
	}
	f.Add(js)
	f.Add([]byte(`{"version":1}`))
	f.Add([]byte(`{"version":1,"request":{"input":[1],"prompt":4294967295,"sampler":{"max_tokens":1}}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		ev, err := Parse(bytes.NewReader(b))
		if err != nil {
			var bad *Rejected
			if !errors.As(err, &bad) {
				t.Fatalf("error without a verdict: %v", err)
			}
			return
		}
		// Nothing that parses may make the checks panic.
		r, err := Verify(context.Background(), ev, &toy{model: ev.Receipt.Model}, Facts{})
		if err != nil || r.Message == "" {
			t.Fatalf("%+v, %v", r, err)
		}
	})
}
