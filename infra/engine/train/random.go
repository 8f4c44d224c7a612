package train

// Random is a splitmix64 generator (Steele, Lea, Flood 2014); its value is its
// state.
type Random uint64

// Uint64 returns 64 random bits.
func (r *Random) Uint64() uint64 {
	*r += 0x9e3779b97f4a7c15
	z := uint64(*r)
	z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
	z = (z ^ z>>27) * 0x94d049bb133111eb
	return z ^ z>>31
}

// Below returns a number from 0 to n-1; n is positive and small, so that the
// bias of the remainder does not matter.
func (r *Random) Below(n int) int { return int(r.Uint64() % uint64(n)) }

// Normal returns a sample of deviation 1: the centred sum of twelve 16-bit
// uniform numbers, exact in float32.
func (r *Random) Normal() float32 {
	sum := 0
	for range 3 {
		for v, i := r.Uint64(), 0; i < 4; i++ {
			sum += int(v & 0xffff)
			v >>= 16
		}
	}
	return float32(2*sum-12*0xffff) / (2 << 16)
}
