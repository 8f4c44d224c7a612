package gemm

// tilePortable is the definition of a tile: c[r][j] += a[r][i]*b[i][j] for
// i = 0, 1, ..., k-1, each product rounded on its own.
func tilePortable(a []float32, row, step int, b []float32, k int, c []float32, cRow int) {
	for r := 0; r < tileRows; r += 2 {
		a0, a1 := a[r*row:], a[(r+1)*row:]
		for j := 0; j < tileCols; j += 4 {
			c0 := (*[4]float32)(c[r*cRow+j:])
			c1 := (*[4]float32)(c[(r+1)*cRow+j:])
			s00, s01, s02, s03 := c0[0], c0[1], c0[2], c0[3]
			s10, s11, s12, s13 := c1[0], c1[1], c1[2], c1[3]
			for i := range k {
				v := (*[4]float32)(b[i*tileCols+j:])
				x, y := a0[i*step], a1[i*step]
				s00 += float32(x * v[0])
				s01 += float32(x * v[1])
				s02 += float32(x * v[2])
				s03 += float32(x * v[3])
				s10 += float32(y * v[0])
				s11 += float32(y * v[1])
				s12 += float32(y * v[2])
				s13 += float32(y * v[3])
			}
			*c0 = [4]float32{s00, s01, s02, s03}
			*c1 = [4]float32{s10, s11, s12, s13}
		}
	}
}
