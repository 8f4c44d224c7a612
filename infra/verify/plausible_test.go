package verify

import (
	"bytes"
	"context"
	"encoding/json"
	"math"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/koinon-network/koinon/core"
)

// someStandings draws tokens of a back end whose scores are off by Gaussian
// noise of sigma logits: its token is another one where the noise exceeds a gap.
func someStandings(r *rand.Rand, n int, sigma float64) []core.Standing {
	out := make([]core.Standing, n)
	for i := range out {
		gap := r.ExpFloat64() * 2
		out[i].Gap = gap
		if off := sigma * r.NormFloat64(); off > gap {
			out[i].Margin = gap + (off-gap)/4
		}
	}
	return out
}

func measured(r *rand.Rand, answers, tokens int, sigma float64) *Calibration {
	c := NewCalibration(core.ModelInfo{ID: core.Hash{2}, Name: "toy", Semantics: core.SemanticsV1}, "simulated", "F32", time.Unix(1, 0))
	for range answers {
		c.Add(someStandings(r, tokens, sigma), true)
	}
	return c
}

// Of many providers that are as bad as the calibration allows at every token,
// the share that is ever suspected with p is at most p.
func TestHonestProvidersAreSafe(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 1))
	c := measured(r, 40, 100, 0.05)
	o := c.odds()
	const providers, answers = 2000, 40
	crossed := map[float64]int{0.2: 0, 0.05: 0, 0.01: 0}
	for range providers {
		var p Process
		for range answers {
			ss := make([]core.Standing, 25)
			for i := range ss {
				b := r.IntN(gapBins)
				ss[i].Gap = 1e-3
				if b > 0 {
					ss[i].Gap = gapEdges[b-1]
				}
				if r.Float64() < o.rate[b] { // the bound itself, and as far off as counts
					ss[i].Margin = 100
				}
			}
			p.play(o, ss, true)
		}
		for q := range crossed {
			if p.Peak >= math.Log(1/q) {
				crossed[q]++
			}
		}
	}
	for q, n := range crossed {
		if float64(n)/providers > q {
			t.Errorf("%d of %d honest providers reach 1/%g", n, providers, q)
		}
	}
	if crossed[0.2] == 0 {
		t.Error("nobody reached anything: the simulation is blind")
	}
}

// The same for draws without the seed: surprises whose mean is at the bound.
func TestHonestServerDrawsAreSafe(t *testing.T) {
	r := rand.New(rand.NewPCG(2, 2))
	c := NewCalibration(core.ModelInfo{}, "", "", time.Time{})
	surprise := func(drift float64) core.Standing {
		return core.Standing{Surprise: min(core.MaxSurprise, r.ExpFloat64()), Expected: 1 - math.Exp(-core.MaxSurprise) - drift}
	}
	for range 5000 {
		c.Add([]core.Standing{surprise(0)}, false)
	}
	o := c.odds()
	if !o.likelihood || !(o.more > 0 && o.more < 0.3 && o.less > 0 && o.less < 0.3) {
		t.Fatalf("bounds are %g and %g", o.more, o.less)
	}
	run := func(drift float64, tokens int) (crossed int) {
		for range 200 {
			var p Process
			for range tokens / 50 {
				ss := make([]core.Standing, 50)
				for i := range ss {
					ss[i] = surprise(drift)
				}
				p.play(o, ss, false)
			}
			if p.Peak >= math.Log(20) {
				crossed++
			}
		}
		return crossed
	}
	if n := run(o.more, 2000); n > 10 {
		t.Errorf("%d of 200 honest providers reach 1/0.05", n)
	}
	if n := run(1, 2000); n < 196 {
		t.Errorf("%d of 200 providers that surprise by a nat more are found", n)
	}
	if n := run(-0.8, 4000); n < 196 {
		t.Errorf("%d of 200 providers that surprise by 0.8 nats less are found", n)
	}
}

// A back end with four times the noise is found, and as fast when it had been
// honest before for a long time, within a factor.
func TestNoisyProvidersAreFound(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 3))
	o := measured(r, 100, 100, 0.05).odds()
	tokensToFind := func(p Process, sigma float64) int {
		for n := 0; n < 100_000; n += 20 {
			if p.Peak >= math.Log(2/Alpha) {
				return n
			}
			p.play(o, someStandings(r, 20, sigma), true)
		}
		return math.MaxInt
	}
	var once Process
	for range 1000 {
		once.play(o, someStandings(r, 20, 0.05), true)
	}
	if once.Peak > 3 {
		t.Errorf("20,000 honest tokens weigh %.1f nats", once.Peak)
	}
	for sigma, most := range map[float64]int{0.2: 8000, 0.5: 800, 3: 150} {
		fresh, late := tokensToFind(Process{}, sigma), tokensToFind(once, sigma)
		t.Logf("noise of %g logits: %d tokens, %d after an honest time", sigma, fresh, late)
		if fresh > most || late > 3*most {
			t.Errorf("noise of %g logits is found after %d tokens, %d after an honest time", sigma, fresh, late)
		}
	}
}

func TestCalibrationFile(t *testing.T) {
	c := measured(rand.New(rand.NewPCG(4, 4)), 30, 100, 0.1)
	js, err := c.Encode()
	if err != nil {
		t.Fatal(err)
	}
	back, err := ParseCalibration(bytes.NewReader(js))
	if err != nil || back.ID() != c.ID() {
		t.Fatalf("%v: %v is %v", err, back, c)
	}
	mu := c.rates()
	for b := 1; b < gapBins; b++ {
		if mu[b] > mu[b-1] || mu[b] <= 0 {
			t.Errorf("bin %d is bounded by %g, the one before by %g", b, mu[b], mu[b-1])
		}
	}
	for what, bend := range map[string]func(c *Calibration){
		"another format":    func(c *Calibration) { c.Format = "x" },
		"another version":   func(c *Calibration) { c.Version = 2 },
		"a bin less":        func(c *Calibration) { c.Margins = c.Margins[1:] },
		"a moved bin":       func(c *Calibration) { c.Margins = slices.Clone(c.Margins); c.Margins[3].From = 1 },
		"sums above tokens": func(c *Calibration) { c.Margins = slices.Clone(c.Margins); c.Margins[3].Sum = 1e9 },
		"too few tokens":    func(c *Calibration) { c.Margins = slices.Clone(c.Margins); clear(c.Margins); refill(c) },
		"a tier of its own": func(c *Calibration) { c.Semantics |= core.OptionStatistical },
		"wild likelihoods":  func(c *Calibration) { c.Likelihood = Likelihood{Tokens: 10, Sum: 1e6} },
	} {
		d := *c
		bend(&d)
		js, _ := d.Encode()
		if _, err := ParseCalibration(bytes.NewReader(js)); core.CodeOf(err) != core.CodeInvalid {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, text := range []string{"", "{}", "[]", string(js) + "x", strings.Replace(string(js), `"made"`, `"maid"`, 1)} {
		if _, err := ParseCalibration(strings.NewReader(text)); err == nil {
			t.Errorf("%.40q is read", text)
		}
	}
}

func refill(c *Calibration) {
	for i, e := range gapEdges {
		c.Margins[i+1].From = e
	}
}

func FuzzCalibration(f *testing.F) {
	js, _ := measured(rand.New(rand.NewPCG(5, 5)), 30, 100, 0.1).Encode()
	f.Add(js)
	f.Add([]byte(`{"format":"koinon-calibration","version":1}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCalibration(bytes.NewReader(b))
		if err != nil {
			return
		}
		var p Process
		o := c.odds()
		p.play(o, []core.Standing{core.Unthinkable, {}, {Gap: -1}, {Gap: 1, Margin: 2}}, true)
		p.play(o, []core.Standing{core.Unthinkable, {Surprise: 8}, {Expected: 8}}, false)
		if _, err := json.Marshal(p); err != nil {
			t.Fatal(err) // NaN or an infinity
		}
	})
}

// standing is an engine whose opinion of answers is given.
type standing struct {
	toy
	says  []core.Standing
	calls int
}

func (e *standing) Stand(context.Context, core.SequenceInput, []core.Token, core.FinishReason, bool) ([]core.Standing, error) {
	e.calls++
	return e.says, nil
}

// statisticalEvidence is the n-th answer of the statistical tier.
func statisticalEvidence(t *testing.T, n int) core.Evidence {
	t.Helper()
	q := sampleRequest(t)
	q.ID[0], q.ID[1] = byte(n), byte(n>>8)
	q.Signature = sign(t, testKey(t, 0x11), q.Digest())
	ev := evidenceFor(t, q, &toy{model: core.Hash{2}}, 1000)
	ev.Request.Semantics |= core.OptionStatistical
	ev.Request.Signature = sign(t, testKey(t, 0x11), ev.Request.Digest())
	ev.Receipt.Semantics, ev.Receipt.RequestHash, ev.Receipt.BoundaryRoot, ev.Boundaries = ev.Request.Semantics, ev.Request.Digest(), core.Hash{}, nil
	reseal(t, &ev)
	return ev
}

func TestStatisticalReceipts(t *testing.T) {
	engine := &standing{toy: toy{model: core.Hash{2}}, says: []core.Standing{{Gap: 1}, {Gap: 1, Margin: 0.25}}}
	ev := statisticalEvidence(t, 1)
	r, err := Verify(t.Context(), ev, engine, Facts{})
	if err != nil || r.Verdict != Unproven || r.ExitCode() != 11 || !strings.Contains(r.Message, "1 of 2 tokens") || !strings.Contains(r.Message, "0.250") {
		t.Errorf("%+v, %v", r, err)
	}
	if r, err := Verify(t.Context(), ev, &toy{model: core.Hash{2}}, Facts{}); err != nil || r.Verdict != Unproven {
		t.Errorf("an engine without the test: %+v, %v", r, err)
	}
	for what, bend := range map[string]func(ev *core.Evidence){
		"a boundary root": func(ev *core.Evidence) { ev.Receipt.BoundaryRoot = core.Hash{1} },
		"passed off as exact": func(ev *core.Evidence) {
			ev.Receipt.Semantics = core.SemanticsV1
		},
		"another seed": func(ev *core.Evidence) { ev.Receipt.Seed[0] ^= 1 },
	} {
		ev := statisticalEvidence(t, 1)
		bend(&ev)
		reseal(t, &ev)
		if r, err := Verify(t.Context(), ev, engine, Facts{}); err != nil || r.Verdict != Tampered {
			t.Errorf("%s: %+v, %v", what, r, err)
		}
	}
	ev.Receipt.Seed = core.Hash{}
	reseal(t, &ev)
	if r, err := Verify(t.Context(), ev, engine, Facts{}); err != nil || r.Verdict != Unproven {
		t.Errorf("without a seed: %+v, %v", r, err)
	}
	exact := sampleEvidence(t)
	exact.Receipt.Seed = core.Hash{}
	reseal(t, &exact)
	if r := verdict(t, exact); r.Verdict != Tampered {
		t.Errorf("an exact receipt without a seed: %+v", r)
	}
}

// The watcher finds a provider whose answers no calibration explains, once;
// counts each answer once, also over a restart; and lets off one that some
// calibration explains.
func TestWatcher(t *testing.T) {
	r := rand.New(rand.NewPCG(6, 6))
	path := filepath.Join(t.TempDir(), "receipts.db")
	open := func() *Archive {
		a, err := OpenArchive(path, ArchiveOptions{noSync: true})
		if err != nil {
			t.Fatal(err)
		}
		return a
	}
	a := open()
	engine := &standing{toy: toy{model: core.Hash{2}}}
	for range 20 {
		engine.says = append(engine.says, core.Standing{Gap: 1, Margin: 1.2}, core.Standing{Gap: 1}, core.Standing{Gap: 1})
	}
	good, lenient := measured(r, 50, 100, 0.05), measured(r, 50, 100, 3)
	var found []Suspicion
	watch := func(a *Archive, cs ...*Calibration) *Watcher {
		w, err := NewWatcher(WatcherOptions{Archive: a, Calibrations: cs, Share: 10_000, Reference: func(core.ModelID) core.Reference { return engine },
			Found: func(s Suspicion) { found = append(found, s) }})
		if err != nil {
			t.Fatal(err)
		}
		return w
	}
	for n := range 6 {
		if n == 3 {
			if err := a.Put(sampleEvidence(t)); err != nil { // of the exact tier: not its business
				t.Fatal(err)
			}
		}
		if err := a.Put(statisticalEvidence(t, n)); err != nil {
			t.Fatal(err)
		}
		if err := watch(a, good).Round(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := a.Close(); err != nil {
			t.Fatal(err)
		}
		a = open()
	}
	if engine.calls != 6 {
		t.Errorf("6 answers were weighed %d times", engine.calls)
	}
	all, err := a.Suspicions()
	if err != nil || len(all) != 1 || len(found) != 1 {
		t.Fatalf("%d suspicions, %d found, %v", len(all), len(found), err)
	}
	if s := all[0]; s.Found == nil || s.Weight() < s.Limit() || s.Number != 1 || s.Answers == 0 || s.Answers > 6 || s.Provider != statisticalEvidence(t, 0).Receipt.Provider || s.Evidence.IsZero() {
		t.Errorf("%+v", s)
	}
	// Another set of calibrations is another test, with a smaller part of alpha.
	for n := range 4 {
		if err := a.Put(statisticalEvidence(t, 100+n)); err != nil {
			t.Fatal(err)
		}
	}
	if err := watch(a, good, lenient).Round(t.Context()); err != nil {
		t.Fatal(err)
	}
	all, err = a.Suspicions()
	i := slices.IndexFunc(all, func(s Suspicion) bool { return len(s.Calibrations) == 2 })
	if err != nil || i < 0 || all[i].Found != nil || all[i].Number != 2 || all[i].Answers != 4 || all[i].Limit() <= all[1-i].Limit() {
		t.Errorf("%+v, %v", all, err)
	}
	if err := a.Close(); err != nil {
		t.Fatal(err)
	}
}
