package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// quantHeads is how many heads the int8 kernels take at a time: more would not
// leave registers for their sums.
const quantHeads = 4

// scoreQuants computes the scores of some quantised query heads for panels of 8
// quantised keys.
func scoreQuants(heads int) {
	name := fmt.Sprintf("scoreQuants%d", heads)
	function(name, "(q *int8, qs *float32, keys *int8, ks, dst *float32, blocks, panels, ld int, scale float32)",
		fmt.Sprintf("scores %d heads against panels of int8 keys; panels is positive.", heads))
	q0, qs0 := pointer("q"), pointer("qs")
	keys, ks, dst := pointer("keys"), pointer("ks"), pointer("dst")
	panels := pointer("panels")
	qBytes, qsBytes := GP64(), GP64()
	Load(Param("blocks"), qBytes)
	Load(Param("blocks"), qsBytes)
	SHLQ(Imm(5), qBytes)
	SHLQ(Imm(2), qsBytes)
	q, qs := rows(heads), rows(heads)
	acc, sum := vectors(heads), vectors(heads)
	Label(name + "_panel")
	q.point(q0, qBytes)
	qs.point(qs0, qsBytes)
	for _, v := range acc {
		VXORPS(v, v, v)
	}
	n := pointer("blocks")
	Label(name + "_block")
	for g := range 8 {
		k, magnitude := YMM(), YMM()
		VMOVDQU(Mem{Base: keys, Disp: 32 * g}, k)
		VPABSB(k, magnitude)
		for h := range heads {
			y := YMM()
			VPBROADCASTD(q.row(h).Offset(4*g), y)
			VPSIGNB(k, y, y)
			VPMADDUBSW(y, magnitude, y)
			if g == 0 {
				VPMADDWD(constant("wordOnes"), y, sum[h])
			} else {
				VPMADDWD(constant("wordOnes"), y, y)
				VPADDD(y, sum[h], sum[h])
			}
		}
	}
	scales := YMM()
	VMOVUPS(Mem{Base: ks}, scales)
	for h := range heads {
		t := YMM()
		VBROADCASTSS(qs.row(h), t)
		VMULPS(scales, t, t)
		VCVTDQ2PS(sum[h], sum[h])
		multiplyAdd(t, sum[h], acc[h])
	}
	ADDQ(U32(256), keys)
	ADDQ(Imm(32), ks)
	q.advance(32)
	qs.advance(4)
	DECQ(n)
	JNZ(LabelRef(name + "_block"))
	scale, to, ld := YMM(), GP64(), stride("ld")
	VBROADCASTSS(NewParamAddr("scale", 64), scale)
	MOVQ(dst, to)
	for h, v := range acc {
		VMULPS(scale, v, v)
		VMOVUPS(v, Mem{Base: to})
		if h < heads-1 {
			ADDQ(ld, to)
		}
	}
	ADDQ(Imm(32), dst)
	DECQ(panels)
	JNZ(LabelRef(name + "_panel"))
	done()
}

// mixQuants adds the quantised values of a page to the answers of some heads.
func mixQuants(heads int) {
	name := fmt.Sprintf("mixQuants%d", heads)
	function(name, "(u *int8, us *float32, values *int8, dst *float32, panels, ldu, ldus, ldd int)",
		fmt.Sprintf("adds two blocks of 32 weighted positions to %d heads of dst, for panels of 8 elements; panels is positive.", heads))
	u0, us0 := pointer("u"), pointer("us")
	values, dst, panels := pointer("values"), pointer("dst"), pointer("panels")
	u, us, out := rows(heads), rows(heads), rows(heads)
	u.point(u0, pointer("ldu"))
	us.point(us0, stride("ldus"))
	ldd := stride("ldd")
	acc, sum := vectors(heads), vectors(heads)
	Label(name + "_panel")
	out.point(dst, ldd)
	for h, v := range acc {
		VMOVUPS(out.row(h), v)
	}
	for block := range 2 {
		for g := range 8 {
			v := YMM()
			VMOVDQU(Mem{Base: values, Disp: 256*block + 32*g}, v)
			for h := range heads {
				y := YMM()
				VPBROADCASTD(u.row(h).Offset(32*block+4*g), y)
				VPMADDUBSW(v, y, y)
				if g == 0 {
					VPMADDWD(constant("wordOnes"), y, sum[h])
				} else {
					VPMADDWD(constant("wordOnes"), y, y)
					VPADDD(y, sum[h], sum[h])
				}
			}
		}
		for h := range heads {
			t := YMM()
			VBROADCASTSS(us.row(h).Offset(4*block), t)
			VCVTDQ2PS(sum[h], sum[h])
			multiplyAdd(t, sum[h], acc[h])
		}
	}
	back := rows(heads)
	back.point(dst, ldd)
	for h, v := range acc {
		VMOVUPS(v, back.row(h))
	}
	ADDQ(U32(512), values)
	ADDQ(Imm(32), dst)
	DECQ(panels)
	JNZ(LabelRef(name + "_panel"))
	done()
}

// weighQuants quantises the weights of a page's positions for one head.
func weighQuants() {
	const name = "weighQuants8"
	function(name, "(weights, scales *float32, u *int8, us *float32, blocks int)",
		"quantises weights*scales for blocks of 32 dimensions with 64 positions each; blocks is positive.")
	weights, scales := pointer("weights"), pointer("scales")
	u, us, n := pointer("u"), pointer("us"), pointer("blocks")
	magnitude, order := YMM(), YMM()
	VMOVUPS(constant("magnitude"), magnitude)
	VMOVDQU(constant("packOrder"), order)
	Label(name + "_block")
	for half := range 2 {
		values := vectors(4)
		for i, v := range values {
			at := 128*half + 32*i
			a, seen, zero := YMM(), YMM(), YMM()
			VMOVUPS(Mem{Base: weights, Disp: at}, a)
			VXORPS(zero, zero, zero)
			VCMPPS(Imm(4), zero, a, seen) // not equal, or NaN
			VMULPS(Mem{Base: scales, Disp: at}, a, v)
			VANDPS(seen, v, v)
		}
		quantizeVectors(values, magnitude, order, Mem{Base: us, Disp: 4 * half})
		VMOVDQU(values[0], Mem{Base: u, Disp: 32 * half})
	}
	ADDQ(U32(256), scales)
	ADDQ(Imm(64), u)
	ADDQ(Imm(8), us)
	DECQ(n)
	JNZ(LabelRef(name + "_block"))
	done()
}
