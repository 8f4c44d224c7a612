package spec

import (
	"math"
	"math/rand/v2"
	"testing"
)

// What an int8 cache costs in accuracy, against the f32 cache and relative to
// the answers' root mean square: for plain numbers, for sharp attention and
// with channels that are twenty times as large.
func TestInt8AttentionIsAccurate(t *testing.T) {
	const d = 64
	for _, c := range []struct {
		name     string
		n        int
		sharp    float64
		outliers bool
		bound    float64
	}{
		{"64 positions", 64, 1, false, 0.02},
		{"1024 positions", 1024, 1, false, 0.02},
		{"8192 positions", 8192, 1, false, 0.02},
		{"sharp attention", 1024, 4, false, 0.04},
		{"outlier channels", 1024, 1, true, 0.05},
	} {
		r := rand.New(rand.NewPCG(1, uint64(c.n)))
		rows := func(n int, by float64) []float32 {
			x := make([]float32, n*d)
			for i := range x {
				v := by * r.NormFloat64()
				if c.outliers && i%d == 7 {
					v *= 20
				}
				x[i] = float32(v)
			}
			return x
		}
		var wrong, all float64
		for range 8 {
			q, keys, values := rows(1, c.sharp), rows(c.n, 1), rows(c.n, 1)
			if c.outliers {
				q[7] /= 400 // as in real models: large keys meet small queries
			}
			want, got, scores := make([]float32, d), make([]float32, d), make([]float32, c.n)
			Attention(want, q, keys, values, scores, AttentionScale(d))
			Attention8(got, q, QuantizeRows(keys), QuantizeRows(values), scores, 0, AttentionScale(d), 0)
			for i := range want {
				wrong += math.Pow(float64(got[i])-float64(want[i]), 2)
				all += math.Pow(float64(want[i]), 2)
			}
		}
		e := math.Sqrt(wrong / all)
		t.Logf("%s: %.2f %%", c.name, 100*e)
		if !(e < c.bound) {
			t.Errorf("%s: the error is %.2f %%", c.name, 100*e)
		}
	}
}
