package spec

import "encoding/binary"

// Superblock is the number of columns of a K-quant's block.
const Superblock = 256

// Sizes in bytes of one block of weights.
const (
	Q41Bytes = 20  // f16 scale, f16 minimum, 16 bytes of nibbles as in Q4_0
	Q50Bytes = 22  // f16 scale, 32 fifth bits, 16 bytes of nibbles
	Q51Bytes = 24  // f16 scale, f16 minimum, 32 fifth bits, 16 bytes of nibbles
	Q4KBytes = 144 // f16 scale, f16 minimum, 12 bytes of scales and minima, 128 of nibbles
	Q5KBytes = 176 // f16 scale, f16 minimum, 12 bytes of scales and minima, 32 of fifth bits, 128 of nibbles
	Q6KBytes = 210 // 128 bytes of nibbles, 64 of upper bits, 16 int8 scales, f16 scale
)

// Quants are the integers of 32 consecutive weights.
type Quants [Block]int32

// Dot is the exact sum of w*q.
func (w *Quants) Dot(q []int8) int32 {
	sum := int32(0)
	for i, v := range q[:Block] {
		sum += w[i] * int32(v)
	}
	return sum
}

// nibbles are 16 bytes: quants 0..15 in the lower halves, 16..31 in the upper.
func nibbles(b []byte) (w Quants) {
	for i, v := range b[:Block/2] {
		w[i], w[i+Block/2] = int32(v&15), int32(v>>4)
	}
	return w
}

// QuantsQ41 are the quants of a Q4_1 block, 0..15.
func QuantsQ41(block []byte) Quants { return nibbles(block[4:]) }

// fives are 16 bytes of nibbles with a fifth bit each, 0..31.
func fives(bits uint32, b []byte) Quants {
	w := nibbles(b)
	for i := range w {
		w[i] |= int32(bits>>i&1) << 4
	}
	return w
}

// QuantsQ50 are the quants of a Q5_0 block, -16..15.
func QuantsQ50(block []byte) Quants {
	w := fives(binary.LittleEndian.Uint32(block[2:]), block[6:])
	for i := range w {
		w[i] -= 16
	}
	return w
}

// QuantsQ51 are the quants of a Q5_1 block, 0..31.
func QuantsQ51(block []byte) Quants {
	return fives(binary.LittleEndian.Uint32(block[4:]), block[8:])
}

// ScaleK is the 6-bit scale and minimum of 32-column block b, 0..7, out of the
// 12 bytes that Q4_K and Q5_K superblocks keep at offset 4.
func ScaleK(superblock []byte, b int) (scale, minimum int32) {
	s := superblock[4:16]
	if b < 4 {
		return int32(s[b] & 63), int32(s[b+4] & 63)
	}
	return int32(s[b+4]&15 | s[b-4]>>6<<4), int32(s[b+4]>>4 | s[b]>>6<<4)
}

// QuantsQ4K are the quants of 32-column block b of a Q4_K superblock, 0..15:
// two blocks share 32 bytes, the even one has the lower halves.
func QuantsQ4K(superblock []byte, b int) (w Quants) {
	for i, v := range superblock[16+b/2*32 : 48+b/2*32] {
		w[i] = int32(v >> (b % 2 * 4) & 15)
	}
	return w
}

// QuantsQ5K are the quants of 32-column block b of a Q5_K superblock, 0..31:
// nibbles as in Q4_K, and the fifth bit is bit b of 32 bytes.
func QuantsQ5K(superblock []byte, b int) (w Quants) {
	for i, v := range superblock[48+b/2*32 : 80+b/2*32] {
		w[i] = int32(v>>(b%2*4)&15) | int32(superblock[16+i]>>b&1)<<4
	}
	return w
}

// QuantsQ6K are the quants of 32-column block b of a Q6_K superblock, -32..31.
// Each half of the superblock has 64 bytes of nibbles (blocks 0 and 1 in the
// lower halves, 2 and 3 in the upper) and 32 bytes of upper bits, two for each
// of its four blocks.
func QuantsQ6K(superblock []byte, b int) (w Quants) {
	low, high := superblock[b/4*64+b%2*32:], superblock[128+b/4*32:]
	for i := range w {
		w[i] = int32(low[i]>>(b%4/2*4)&15|high[i]>>(b%4*2)&3<<4) - 32
	}
	return w
}

// ScaleQ6K is the scale of 16-column group g, 0..15, of a Q6_K superblock.
func ScaleQ6K(superblock []byte, g int) int32 { return int32(int8(superblock[192+g])) }
