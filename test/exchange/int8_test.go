package exchange

import (
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/compute"
	"github.com/koinon-network/koinon/infra/compute/computetest"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/verify"
)

// A provider that keeps keys and values as int8 is judged by an engine that does
// too; the same file without the option says that it cannot.
func TestInt8ReceiptsAreVerifiedWithInt8(t *testing.T) {
	open := func(file string, o model.Options) *model.Model {
		m, err := model.Open("../../spec/vectors/"+file, o)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { m.Close() })
		return m
	}
	const file = "model-gemma2-kv8.gguf"
	small, plain := open(file, model.Options{Threads: 1, KV8: true}), open(file, model.Options{Threads: 1})
	c := newConsumer(t)
	p := newProvider(t, "Delos", c.key.Address(), func(e *computetest.Engine, w *compute.Config) {
		e.Model = small.Info()
		w.Engine, w.Offer.Model, w.Admit = small, small.Root(), small.Check
	})
	input := make([]core.Token, 70)
	for i := range input {
		input[i] = core.Token(i * 3)
	}
	r := c.order(p, input, 70, 40)
	r.Sampler.IgnoreEOS = true
	if _, err := c.whole(p, r); core.CodeOf(err) != core.CodeInvalid {
		t.Fatalf("the plain semantics of an int8 model: %v", err)
	}
	r.ID, r.Semantics = random(), core.SemanticsKV8
	if _, err := c.whole(p, r); err != nil {
		t.Fatal(err)
	}
	eventually(t, "there is no receipt", func() bool { return len(p.notary.Sealed()) == 1 })
	e := p.notary.Sealed()[0]
	if len(e.Output) != 40 {
		t.Fatalf("%d tokens", len(e.Output))
	}
	again := open(file, model.Options{Threads: 2, PrefillRows: 31, KV8: true})
	for _, x := range []struct {
		what    string
		engine  *model.Model
		verdict verify.Verdict
	}{
		{"another engine of the same kind", again, verify.Matches},
		{"the same file with float32 keys and values", plain, verify.Unsupported},
	} {
		report, err := verify.Verify(t.Context(), e, x.engine, verify.Facts{})
		if err != nil || report.Verdict != x.verdict {
			t.Errorf("%s: %s (%s), %v", x.what, report.Verdict, report.Message, err)
		}
	}
}
