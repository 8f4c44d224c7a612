package trial

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/verify"
)

// Every kind of forgery is tried; none escapes, and no truth is convicted.
func TestNothingEscapes(t *testing.T) {
	r, err := Run(t.Context(), Options{Forgeries: 3 * len(forgeries), Games: 12, Seed: 1})
	if err != nil {
		t.Fatal(err)
	}
	if r.Failed() || len(r.Kinds) != len(forgeries) || r.Forgeries != 3*len(forgeries) {
		t.Errorf("%s", r.Table())
	}
	if len(r.Steps) < 8 {
		t.Errorf("steps of %d operators: %+v", len(r.Steps), r.Steps)
	}
	if table := r.Table(); !strings.Contains(table, "a weight's bit") || strings.Contains(table, "must not happen") {
		t.Error(table)
	}
}

// A trial whose lies were no lies would find so: an unbent answer counts as
// escaped.
func TestAnEscapeIsCounted(t *testing.T) {
	saved := forgeries
	defer func() { forgeries = saved }()
	forgeries = []forgery{edit("nothing", func(*forger, *core.Evidence) bool { return true })}
	tr, err := start(Options{Forgeries: 2, Progress: func(string, int, int) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	if err := tr.answers(t.Context()); err != nil {
		t.Fatal(err)
	}
	if tr.result.Escaped != 2 || !tr.result.Failed() || len(tr.result.Failures) != 2 {
		t.Errorf("%+v", tr.result)
	}
}

// Facts that are not the provider's convict an honest answer: that is counted
// too.
func TestAConvictionIsCounted(t *testing.T) {
	tr, err := start(Options{Forgeries: 1, Progress: func(string, int, int) {}})
	if err != nil {
		t.Fatal(err)
	}
	defer tr.close()
	tr.facts = verify.Facts{VRFKey: make([]byte, 32)}
	tr.r = rand.New(rand.NewPCG(4, 5)) // draws a request without a user's seed
	if err := tr.answers(t.Context()); err != nil {
		t.Fatal(err)
	}
	if tr.result.Convicted == 0 {
		t.Errorf("%+v", tr.result)
	}
}
