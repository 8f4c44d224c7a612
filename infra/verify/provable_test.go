package verify

import (
	"context"
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
)

func TestWrongLogprobsAreFound(t *testing.T) {
	honest := func() core.Evidence {
		q := sampleRequest(t)
		q.Sampler.Logprobs = 4
		q.Signature = sign(t, testKey(t, 0x11), q.Digest())
		return evidenceFor(t, q, &toy{model: core.Hash{2}}, 1000)
	}
	if r := verdict(t, honest()); r.Verdict != Matches || !strings.Contains(r.Message, "log-probabilities") {
		t.Fatalf("%+v", r)
	}
	other := core.Logprob{Token: 490, Value: -7}
	for _, c := range []struct {
		what           string
		position, rank int
		missing        bool
		bend           func(l []core.TokenLogprobs)
	}{
		{"drawn token's value", 3, 0, false, func(l []core.TokenLogprobs) { l[3][0].Value++ }},
		{"alternative's value", 0, 2, false, func(l []core.TokenLogprobs) { l[0][2].Value-- }},
		{"another alternative", 11, 3, false, func(l []core.TokenLogprobs) { l[11][3] = other }},
		{"one left out", 5, 3, true, func(l []core.TokenLogprobs) { l[5] = l[5][:3] }},
		{"one too many", 5, 4, false, func(l []core.TokenLogprobs) { l[5] = append(l[5], other) }},
	} {
		ev := honest()
		ev.Logprobs = slices.Clone(ev.Logprobs)
		c.bend(ev.Logprobs)
		if r := verdict(t, ev); r.Verdict != Tampered || r.Field != "logprobs" {
			t.Errorf("%s, edited afterwards: %+v", c.what, r)
		}
		ev.Receipt.Logprobs = core.HashLogprobs(ev.Logprobs)
		reseal(t, &ev)
		r := verdict(t, ev)
		if r.Verdict != LogprobDiffers || r.ExitCode() != 9 || r.Logprob == nil || r.Logprob.Position != c.position || r.Logprob.Rank != c.rank || (r.Logprob.Claimed == nil) != c.missing {
			t.Errorf("%s: %+v %+v", c.what, r, r.Logprob)
		}
	}
	ev := honest()
	ev.Logprobs, ev.Receipt.Logprobs = nil, core.Hash{}
	reseal(t, &ev)
	if r := verdict(t, ev); r.Verdict != Tampered || r.Field != "logprobs" {
		t.Errorf("withheld: %+v", r)
	}
	ev = sampleEvidence(t)
	ev.Logprobs = []core.TokenLogprobs{{other}}
	ev.Receipt.Logprobs = core.HashLogprobs(ev.Logprobs)
	reseal(t, &ev)
	if r := verdict(t, ev); r.Verdict != Tampered || r.Field != "logprobs" {
		t.Errorf("not ordered: %+v", r)
	}
}

func TestWrongEmbeddingsAreFound(t *testing.T) {
	e := &toy{model: core.Hash{2}}
	ev := embeddingFor(t, e)
	js, err := json.Marshal(ev)
	if err != nil {
		t.Fatal(err)
	}
	if ev, err = Parse(strings.NewReader(string(js))); err != nil {
		t.Fatal(err)
	}
	if r := verdict(t, ev); r.Verdict != Matches || !strings.Contains(r.Message, "4 numbers") {
		t.Fatalf("%+v", r)
	}
	claim := func(v core.Bytes) {
		ev.Embedding, ev.Receipt.OutputHash = v, core.HashEmbedding(v)
		reseal(t, &ev)
	}
	ev.Embedding = slices.Clone(ev.Embedding)
	ev.Embedding[9] ^= 1
	if r := verdict(t, ev); r.Verdict != Tampered || r.Field != "output" {
		t.Errorf("edited afterwards: %+v", r)
	}
	claim(ev.Embedding)
	if r := verdict(t, ev); r.Verdict != EmbeddingDiffers || r.ExitCode() != 10 || !strings.Contains(r.Message, "number 2 of 4") {
		t.Errorf("one bit: %+v", r)
	}
	claim(ev.Embedding[:8])
	if r := verdict(t, ev); r.Verdict != EmbeddingDiffers {
		t.Errorf("another length: %+v", r)
	}
	claim(nil)
	if r := verdict(t, ev); r.Verdict != Tampered {
		t.Errorf("no vector: %+v", r)
	}
	ev = embeddingFor(t, e)
	ev.Output, ev.Receipt.Output = []core.Token{1}, 1
	reseal(t, &ev)
	if r := verdict(t, ev); r.Verdict != Tampered {
		t.Errorf("tokens billed beside a vector: %+v", r)
	}
	ev = embeddingFor(t, e)
	ev.Request.Pooling = core.PoolCLS
	ev.Request.Signature = sign(t, testKey(t, 0x11), ev.Request.Digest())
	ev.Receipt.RequestHash = ev.Request.Digest()
	reseal(t, &ev)
	if r, err := Verify(context.Background(), ev, e, Facts{}); err != nil || r.Verdict != EmbeddingDiffers {
		t.Errorf("a pooling that the model lacks: %+v %v", r, err)
	}
}
