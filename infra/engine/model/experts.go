package model

import (
	"github.com/koinon-network/koinon/infra/engine/kernel"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// mixture holds the buffers of a mixture of experts.
type mixture struct {
	logits  []float32 // [row][expert]
	chosen  []int     // [row][used], rising
	weights []float32 // [row][used]

	rows    []int     // that an expert answers
	shares  []float32 // their weights
	inputs  []float32 // [len(rows)][width]
	answers []float32 // [len(rows)][width]
	input   kernel.Activations
}

func (x *mixture) resize(c *config, n int) {
	if c.Experts.Count == 0 {
		return
	}
	x.logits = sized(x.logits, n*c.Experts.Count)
	x.chosen, x.weights = sized(x.chosen, n*c.Experts.Used), sized(x.weights, n*c.Experts.Used)
	x.inputs, x.answers = sized(x.inputs, n*c.Width), sized(x.answers, n*c.Width)
}

// mix answers the pass's rows by the experts that the router chooses for each.
// Experts take turns in rising order, each for all its rows: so a row's answers
// are added in the order of its experts, whatever the other rows chose.
func (m *Model) mix(layer *layer) {
	w, c := &m.work, m.config
	x, e, n := &w.mixture, &c.Experts, len(w.rows)
	m.route(layer)
	clear(w.delta[:n*c.Width])
	for number := range layer.experts {
		if !x.take(number, e.Used) {
			continue
		}
		k := len(x.rows)
		x.input.Reset(x.inputs, c.Width, k, c.Width)
		m.each(k, func(i int) {
			copy(at(x.inputs, i, c.Width), at(w.normed, x.rows[i], c.Width))
			if quantizes(c.Width) {
				x.input.Set(i, i+1)
			}
		})
		m.feed(x.answers, &layer.experts[number], &x.input)
		m.each(k, func(i int) {
			kernel.MixExpert(at(w.delta, x.rows[i], c.Width), at(x.answers, i, c.Width), x.shares[i])
		})
	}
	if e.SharedHidden > 0 {
		m.addShared(layer)
	}
}

// route chooses every row's experts and their weights.
func (m *Model) route(layer *layer) {
	w, e := &m.work, &m.config.Experts
	x := &w.mixture
	kernel.Linear(m.pool, x.logits, e.Count, layer.router, &w.input)
	m.each(len(w.rows), func(i int) {
		spec.Route(x.chosen[i*e.Used:(i+1)*e.Used], at(x.weights, i, e.Used), at(x.logits, i, e.Count), e.Normalised, e.Scale)
	})
}

// take collects the rows that chose an expert and reports whether there are any.
func (x *mixture) take(number, used int) bool {
	x.rows, x.shares = x.rows[:0], x.shares[:0]
	for i, chosen := range x.chosen {
		if chosen == number {
			x.rows, x.shares = append(x.rows, i/used), append(x.shares, x.weights[i])
		}
	}
	return len(x.rows) > 0
}

// addShared adds the answer of the expert that all rows share, through its gate.
func (m *Model) addShared(layer *layer) {
	w, c := &m.work, m.config
	x, n := &w.mixture, len(w.rows)
	gates := x.logits[:n]
	kernel.Linear(m.pool, gates, 1, layer.sharedGate, &w.input)
	m.feed(x.answers, &layer.shared, &w.input)
	m.each(n, func(i int) {
		kernel.MixExpert(at(w.delta, i, c.Width), at(x.answers, i, c.Width), spec.Sigmoid(gates[i]))
	})
}
