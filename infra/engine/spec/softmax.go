package spec

import "math"

// Softmax sets x to exp(x - max(x)) and returns the sum of the exponentials;
// the caller multiplies its result by 1/sum (in attention after the weighted
// sum of values, see [AttentionFinish]).
//
//	m = Max(x)
//	x[i] = Exp(x[i] - m)
//	sum in lanes and tree (see [Lanes])
//
// With finite x the sum is at least 1. An infinite or NaN score gives zeros
// and, when it was the maximum, a zero sum, whose inverse then shows as NaN.
func Softmax(x []float32) (sum float32) {
	var lanes Lanes
	lanes.AddExp(x, Max(MaxStart(), x))
	return lanes.Total()
}

// AddExp is the step of the second pass of Softmax: it replaces x[i] by
// Exp(x[i] - max) and adds it to the lanes, with chunks as for [Lanes.Add].
func (l *Lanes) AddExp(x []float32, max float32) {
	for i, v := range x {
		e := Exp(v - max)
		x[i] = e
		l[i&7] += e
	}
}

// Max is the step of the first pass: the largest of m and the elements of x,
// where a NaN is ignored. The order does not matter.
func Max(m float32, x []float32) float32 {
	for _, v := range x {
		if v > m {
			m = v
		}
	}
	return m
}

// MaxStart is the value from which Max starts: -Inf.
func MaxStart() float32 { return math.Float32frombits(0xff800000) }
