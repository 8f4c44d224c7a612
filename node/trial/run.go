package trial

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"time"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/model"
	"github.com/koinon-network/koinon/infra/engine/referee"
	"github.com/koinon-network/koinon/infra/engine/seed"
	"github.com/koinon-network/koinon/infra/engine/tiny"
	"github.com/koinon-network/koinon/infra/verify"
)

// Options of [Run].
type Options struct {
	Forgeries int    // honest answers, and as many forgeries; 0: 500
	Games     int    // of either kind; 0: a hundredth of Forgeries, at least 50
	Seed      uint64 // of all choices; equal seeds make equal choices
	Progress  func(what string, done, total int)
}

// Result is what happened.
type Result struct {
	Seed      uint64 `json:"seed"`
	Honest    int    `json:"honest"`
	Convicted int    `json:"honest_convicted"` // must be 0

	Forgeries int     `json:"forgeries"`
	Escaped   int     `json:"forgeries_escaped"` // must be 0
	Kinds     []Kind  `json:"kinds"`
	Lying     Games   `json:"games_against_liars"`
	True      Games   `json:"games_against_honest_providers"`
	Courts    []Court `json:"courts"`
	Steps     []Step  `json:"steps"`
	Audit     float64 `json:"audit_over_inference"` // time to verify an answer over time to write it
	Seconds   float64 `json:"seconds"`

	// Failures describe the first few of what must not happen.
	Failures []string `json:"failures,omitempty"`
}

// Kind is one way to forge.
type Kind struct {
	Name     string         `json:"name"`
	Tried    int            `json:"tried"`
	Escaped  int            `json:"escaped"`
	Verdicts map[string]int `json:"verdicts"`
}

// Games are games of one kind. Lost are those that the honest side lost.
type Games struct {
	Played      int `json:"played"`
	Lost        int `json:"honest_side_lost"` // must be 0
	MovesMedian int `json:"moves_median"`
	MovesMax    int `json:"moves_max"`
	BytesMedian int `json:"bytes_median"` // of claim and moves
	BytesMax    int `json:"bytes_max"`

	moves, bytes []int
}

// Court are the games about one model.
type Court struct {
	Model string `json:"model"`
	Lying int    `json:"games_against_liars"`
	True  int    `json:"games_against_honest_providers"`
	Lost  int    `json:"honest_side_lost"` // must be 0
}

// Step is what the check of an operator's step costs, in milliseconds.
type Step struct {
	Operator string  `json:"operator"`
	Count    int     `json:"count"`
	Median   float64 `json:"median_ms"`
	Max      float64 `json:"max_ms"`
}

// Target is what one step may cost a validator, in milliseconds.
const Target = 0.2

// Failed reports whether a lie escaped or the truth was convicted.
func (r *Result) Failed() bool { return r.Convicted+r.Escaped+r.Lying.Lost+r.True.Lost > 0 }

func (r *Result) fail(format string, args ...any) {
	if len(r.Failures) < 20 {
		r.Failures = append(r.Failures, fmt.Sprintf(format, args...))
	}
}

// trial is one run.
type trial struct {
	*forger
	options Options
	result  Result
	engines []*model.Model // one model under several threads and chunks
	kinds   map[string]*Kind
	steps   map[string][]float64
}

// Run tries what [Options] ask for on the built-in model. What it finds is in
// the result; an error means that the trial itself did not work.
func Run(ctx context.Context, o Options) (*Result, error) {
	if o.Forgeries <= 0 {
		o.Forgeries = 500
	}
	if o.Games <= 0 {
		o.Games = max(50, o.Forgeries/100)
	}
	if o.Progress == nil {
		o.Progress = func(string, int, int) {}
	}
	begin := time.Now()
	t, err := start(o)
	if err != nil {
		return nil, err
	}
	defer t.close()
	for _, part := range []func(context.Context) error{t.answers, t.games, t.audit} {
		if err := part(ctx); err != nil {
			return nil, err
		}
	}
	t.finish()
	t.result.Seconds = time.Since(begin).Seconds()
	return &t.result, nil
}

// settings are ways to run one model that must not matter.
func settings() []model.Options {
	const memory = 64 << 20
	return []model.Options{
		{KVBudget: memory, Threads: 1}, {KVBudget: memory, Threads: 2, PrefillRows: 5}, {KVBudget: memory, Threads: 3, PrefillRows: 1},
		{KVBudget: memory, Threads: runtime.NumCPU(), PrefillRows: 16},
	}
}

func start(o Options) (*trial, error) {
	r := rand.New(rand.NewPCG(o.Seed, 1))
	p, err := newParties(r)
	if err != nil {
		return nil, err
	}
	f, err := gguf.Parse(seed.Bytes())
	if err != nil {
		return nil, err
	}
	t := &trial{options: o, result: Result{Seed: o.Seed}, kinds: map[string]*Kind{}, steps: map[string][]float64{}}
	for _, s := range settings() {
		m, err := model.OpenBytes(seed.Bytes(), s)
		if err != nil {
			t.close()
			return nil, err
		}
		t.engines = append(t.engines, m)
	}
	t.forger = &forger{parties: p, r: r, engine: t.engines[0], options: settings()[0], file: seed.Bytes(), tensors: f.Tensors}
	return t, nil
}

func (t *trial) close() {
	for _, m := range t.engines {
		m.Close()
	}
}

// answers writes honest answers in batches of random size, and verifies each
// and a forgery of each.
func (t *trial) answers(ctx context.Context) error {
	for t.result.Honest < t.options.Forgeries {
		n := min(1+t.r.IntN(maxBatch), t.options.Forgeries-t.result.Honest)
		orders, inputs := make([]*order, n), make([]core.SequenceInput, n)
		for i := range orders {
			o, err := t.newOrder(t.r, t.engine.Info())
			if err != nil {
				return err
			}
			orders[i], inputs[i] = o, o.in
		}
		writer := t.r.IntN(len(t.engines))
		got, err := generate(ctx, t.engines[writer], inputs)
		if err != nil {
			return err
		}
		for i, o := range orders {
			auditor := (writer + 1 + t.r.IntN(len(t.engines)-1)) % len(t.engines)
			if err := t.one(ctx, o, got[i], t.engines[auditor]); err != nil {
				return err
			}
		}
		t.options.Progress("answers and forgeries", t.result.Honest, t.options.Forgeries)
	}
	return nil
}

// one verifies an answer and a forgery of it.
func (t *trial) one(ctx context.Context, o *order, a outcome, auditor *model.Model) error {
	ev, err := t.seal(o, a)
	if err != nil {
		return err
	}
	report, err := verify.Verify(ctx, ev, auditor, t.facts)
	if err != nil {
		return err
	}
	if report.Verdict != verify.Matches {
		t.result.Convicted++
		t.result.fail("an honest answer: %s", report.Message)
	}
	bent, name, err := t.forge(ctx, o, ev, t.result.Honest)
	t.result.Honest++
	if err != nil {
		return err
	}
	report, err = verify.Verify(ctx, bent, auditor, t.facts)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	k := t.kinds[name]
	if k == nil {
		k = &Kind{Name: name, Verdicts: map[string]int{}}
		t.kinds[name] = k
	}
	k.Tried++
	k.Verdicts[string(report.Verdict)]++
	t.result.Forgeries++
	if report.Verdict == verify.Matches {
		k.Escaped++
		t.result.Escaped++
		t.result.fail("%s, receipt %s: %s", name, ev.Receipt.Digest().Short(), report.Message)
	}
	return nil
}

// games plays disputes in courts over the built-in model and, every other time,
// over small models of all architectures in turn.
func (t *trial) games(ctx context.Context) error {
	home, err := newCourt(t.forger, "the built-in model", map[string]int{})
	if err != nil {
		return err
	}
	t.judged(home)
	shapes := tiny.All()
	courts := make([]*court, len(shapes))
	defer func() {
		for _, c := range courts {
			if c != nil {
				c.engine.Close()
			}
		}
	}()
	for i := range t.options.Games {
		t.options.Progress("games", i, t.options.Games)
		c := home
		if n := i / 2 % len(shapes); i%2 == 1 {
			if courts[n] == nil {
				if courts[n], err = tinyCourt(home, shapes[n]); err != nil {
					return fmt.Errorf("%v: %w", shapes[n], err)
				}
				t.judged(courts[n])
			}
			c = courts[n]
		}
		if err := t.pair(ctx, c); err != nil {
			return fmt.Errorf("%s: %w", c.name, err)
		}
	}
	return nil
}

func (t *trial) judged(c *court) { t.result.Courts = append(t.result.Courts, Court{Model: c.name}) }

// pair plays a game of either kind in a court.
func (t *trial) pair(ctx context.Context, c *court) error {
	i := slices.IndexFunc(t.result.Courts, func(v Court) bool { return v.Model == c.name })
	count := &t.result.Courts[i]
	lie := c.accused
	if c.r.IntN(2) == 0 {
		lie = c.misled
	}
	g, where, err := lie(ctx)
	if err != nil {
		return err
	}
	count.Lying++
	if t.result.Lying.add(&g); g.held || g.stuck != referee.Provider {
		t.result.Lying.Lost++
		count.Lost++
		t.result.fail("%s, %s: the %s has no move: %v", c.name, where, g.stuck, g.cause)
	}
	if g, err = c.defended(ctx); err != nil {
		return err
	}
	count.True++
	if t.result.True.add(&g); !g.held {
		t.result.True.Lost++
		count.Lost++
		t.result.fail("%s, a true answer: the %s has no move: %v", c.name, g.stuck, g.cause)
		return nil
	}
	t.steps[g.operator] = append(t.steps[g.operator], float64(g.step.Nanoseconds())/1e6)
	return nil
}

func (g *Games) add(one *game) {
	g.Played++
	g.moves, g.bytes = append(g.moves, one.moves), append(g.bytes, one.bytes)
}

// audits is how many answers the times of writing and verifying are taken of.
const audits = 100

// audit compares verifying answers with writing them, one at a time on one
// engine.
func (t *trial) audit(ctx context.Context) error {
	var ratios []float64
	m := t.engines[len(t.engines)-1]
	for i := range audits {
		t.options.Progress("audits", i, audits)
		o, err := t.newOrder(t.r, m.Info())
		if err != nil {
			return err
		}
		begin := time.Now()
		got, err := generate(ctx, m, []core.SequenceInput{o.in})
		wrote := time.Since(begin)
		if err != nil {
			return err
		}
		ev, err := t.seal(o, got[0])
		if err != nil {
			return err
		}
		begin = time.Now()
		report, err := verify.Verify(ctx, ev, m, t.facts)
		verified := time.Since(begin)
		if err != nil {
			return err
		}
		if report.Verdict != verify.Matches {
			t.result.Convicted++
			t.result.fail("an honest answer: %s", report.Message)
		}
		t.result.Honest++
		ratios = append(ratios, float64(verified)/float64(wrote))
	}
	t.result.Audit = median(ratios)
	return nil
}

func (t *trial) finish() {
	for _, v := range forgeries {
		if k := t.kinds[v.name]; k != nil {
			t.result.Kinds = append(t.result.Kinds, *k)
		}
	}
	for _, g := range []*Games{&t.result.Lying, &t.result.True} {
		g.MovesMedian, g.MovesMax, g.BytesMedian, g.BytesMax = median(g.moves), slices.Max(g.moves), median(g.bytes), slices.Max(g.bytes)
	}
	for operator, all := range t.steps {
		t.result.Steps = append(t.result.Steps, Step{operator, len(all), median(all), slices.Max(all)})
	}
	slices.SortFunc(t.result.Steps, func(a, b Step) int { return cmp.Compare(b.Median, a.Median) })
}

// median of a list that is not empty.
func median[T cmp.Ordered](x []T) T {
	x = slices.Clone(x)
	slices.Sort(x)
	return x[len(x)/2]
}
