package spec

// Lanes is the state of a canonical sum: element i of the vector is added to
// lane i mod 8, in order, starting from +0. A vector whose length is not a
// multiple of 8 counts as padded with zeros.
type Lanes [8]float32

// Total adds the lanes in a fixed tree: ((0+4)+(2+6)) + ((1+5)+(3+7)).
func (l *Lanes) Total() float32 {
	even := float32(l[0]+l[4]) + float32(l[2]+l[6])
	odd := float32(l[1]+l[5]) + float32(l[3]+l[7])
	return even + odd
}

// Add is the step of a plain sum. All chunks but the last must have a length
// that is a multiple of 8.
func (l *Lanes) Add(x []float32) {
	for i, v := range x {
		l[i&7] += v
	}
}

// AddSquares is the step of a sum of squares, with chunks as for Add.
func (l *Lanes) AddSquares(x []float32) {
	for i, v := range x {
		l[i&7] += float32(v * v)
	}
}
