package main

import (
	"fmt"

	. "github.com/mmcloughlin/avo/build"
	. "github.com/mmcloughlin/avo/operand"
)

// scorePanels computes the scores of some query heads for panels of 8 keys,
// width panels at a time; the head dimension is summed in order.
func scorePanels(heads, width int) {
	name := fmt.Sprintf("scores%dx%d", heads, width)
	function(name, "(q, keys, dst *float32, dim, panels, ld int, scale float32)",
		fmt.Sprintf("scores %d heads against groups of %d panels; panels is a positive multiple of %d.", heads, width, width))
	q0, keys, dst := pointer("q"), pointer("keys"), pointer("dst")
	dim, panels := pointer("dim"), pointer("panels")
	qBytes, panelBytes := GP64(), GP64()
	MOVQ(dim, qBytes)
	SHLQ(Imm(2), qBytes)
	MOVQ(dim, panelBytes)
	SHLQ(Imm(5), panelBytes)
	q, k := rows(heads), rows(width)
	acc := vectors(heads * width)
	Label(name + "_panel")
	q.point(q0, qBytes)
	k.point(keys, panelBytes)
	for _, v := range acc {
		VXORPS(v, v, v)
	}
	n := GP64()
	MOVQ(dim, n)
	Label(name + "_dim")
	key := operands(heads, width, k.row)
	for h := range heads {
		v := YMM()
		VBROADCASTSS(q.row(h), v)
		for i := range width {
			t := v
			if i < width-1 {
				t = YMM()
			}
			VMULPS(key[i], v, t)
			VADDPS(t, acc[h*width+i], acc[h*width+i])
		}
	}
	q.advance(4)
	k.advance(32)
	DECQ(n)
	JNZ(LabelRef(name + "_dim"))
	scale, to, ld := YMM(), GP64(), stride("ld")
	VBROADCASTSS(NewParamAddr("scale", 48), scale)
	MOVQ(dst, to)
	for h := range heads {
		for i := range width {
			v := acc[h*width+i]
			VMULPS(scale, v, v)
			VMOVUPS(v, Mem{Base: to, Disp: 32 * i})
		}
		if h < heads-1 {
			ADDQ(ld, to)
		}
	}
	ADDQ(U32(uint32(32*width)), dst)
	for range width {
		ADDQ(panelBytes, keys)
	}
	SUBQ(Imm(uint64(width)), panels)
	JNZ(LabelRef(name + "_panel"))
	done()
}

// mixValues adds weighted value rows to the answers of some query heads, width
// vectors of 8 elements at a time; positions are summed in order.
func mixValues(heads, width int) {
	name := fmt.Sprintf("mix%dx%d", heads, width)
	function(name, "(weights, values, dst *float32, n, dim, ld, vectors int)",
		fmt.Sprintf("adds n weighted rows of values to %d heads of dst, for groups of %d vectors of 8 elements; vectors is a positive multiple of %d.", heads, width, width))
	w0, values, dst := pointer("weights"), pointer("values"), pointer("dst")
	rowBytes, ld, count := stride("dim"), stride("ld"), pointer("vectors")
	w, out := rows(heads), rows(heads)
	acc := vectors(heads * width)
	Label(name + "_vector")
	// out shares its registers with nothing that lives through the loop.
	out.point(dst, rowBytes)
	for h := range heads {
		for i := range width {
			VMOVUPS(out.row(h).Offset(32*i), acc[h*width+i])
		}
	}
	w.point(w0, ld)
	v, n := GP64(), pointer("n")
	MOVQ(values, v)
	Label(name + "_position")
	value := operands(heads, width, func(i int) Mem { return Mem{Base: v, Disp: 32 * i} })
	for h := range heads {
		x := YMM()
		VBROADCASTSS(w.row(h), x)
		for i := range width {
			t := x
			if i < width-1 {
				t = YMM()
			}
			VMULPS(value[i], x, t)
			VADDPS(t, acc[h*width+i], acc[h*width+i])
		}
	}
	w.advance(4)
	ADDQ(rowBytes, v)
	DECQ(n)
	JNZ(LabelRef(name + "_position"))
	back := rows(heads)
	back.point(dst, rowBytes)
	for h := range heads {
		for i := range width {
			VMOVUPS(acc[h*width+i], back.row(h).Offset(32*i))
		}
	}
	ADDQ(U32(uint32(32*width)), values)
	ADDQ(U32(uint32(32*width)), dst)
	SUBQ(Imm(uint64(width)), count)
	JNZ(LabelRef(name + "_vector"))
	done()
}

// operands are n vectors from memory: in registers where more than one head
// uses them.
func operands(heads, n int, at func(int) Mem) []Op {
	ops := make([]Op, n)
	for i := range ops {
		if heads == 1 {
			ops[i] = at(i)
			continue
		}
		v := YMM()
		VMOVUPS(at(i), v)
		ops[i] = v
	}
	return ops
}
