#include "textflag.h"

// Go's assembler has no names for these: fmul Vd.4s, Vn.4s, Vm.s[0] and
// fadd Vd.4s, Vn.4s, Vm.4s.
#define FMUL(d, n, m) WORD $(0x4f809000 | (m)<<16 | (n)<<5 | (d))
#define FADD(d, n, m) WORD $(0x4e20d400 | (m)<<16 | (n)<<5 | (d))

// Adds four terms of one row: products of V24-V27 and a number at p, each
// rounded before it is added to the sums c to c+3.
#define TERMS(p, c) \
	FMOVS (p), F28           \
	ADD   R6, p, p           \
	FMUL(29, 24, 28)         \
	FMUL(30, 25, 28)         \
	FMUL(31, 26, 28)         \
	FADD((c)+0, (c)+0, 29)   \
	FMUL(29, 27, 28)         \
	FADD((c)+1, (c)+1, 30)   \
	FADD((c)+2, (c)+2, 31)   \
	FADD((c)+3, (c)+3, 29)

// func tileNEON(a *float32, aRow uintptr, aStep uintptr, b *float32, k int, c *float32, cRow uintptr)
TEXT ·tileNEON(SB), NOSPLIT, $0-56
	MOVD a+0(FP), R0
	MOVD aRow+8(FP), R7
	MOVD aStep+16(FP), R6
	MOVD b+24(FP), R8
	MOVD k+32(FP), R9
	MOVD c+40(FP), R10
	MOVD cRow+48(FP), R11
	ADD  R7, R0, R1
	ADD  R7, R1, R2
	ADD  R7, R2, R3
	ADD  R7, R3, R4
	ADD  R7, R4, R5
	MOVD R10, R12
	VLD1 (R12), [V0.S4, V1.S4, V2.S4, V3.S4]
	ADD  R11, R12, R12
	VLD1 (R12), [V4.S4, V5.S4, V6.S4, V7.S4]
	ADD  R11, R12, R12
	VLD1 (R12), [V8.S4, V9.S4, V10.S4, V11.S4]
	ADD  R11, R12, R12
	VLD1 (R12), [V12.S4, V13.S4, V14.S4, V15.S4]
	ADD  R11, R12, R12
	VLD1 (R12), [V16.S4, V17.S4, V18.S4, V19.S4]
	ADD  R11, R12, R12
	VLD1 (R12), [V20.S4, V21.S4, V22.S4, V23.S4]

term:
	VLD1.P 64(R8), [V24.S4, V25.S4, V26.S4, V27.S4]
	TERMS(R0, 0)
	TERMS(R1, 4)
	TERMS(R2, 8)
	TERMS(R3, 12)
	TERMS(R4, 16)
	TERMS(R5, 20)
	SUBS $1, R9, R9
	BNE  term

	VST1 [V0.S4, V1.S4, V2.S4, V3.S4], (R10)
	ADD  R11, R10, R10
	VST1 [V4.S4, V5.S4, V6.S4, V7.S4], (R10)
	ADD  R11, R10, R10
	VST1 [V8.S4, V9.S4, V10.S4, V11.S4], (R10)
	ADD  R11, R10, R10
	VST1 [V12.S4, V13.S4, V14.S4, V15.S4], (R10)
	ADD  R11, R10, R10
	VST1 [V16.S4, V17.S4, V18.S4, V19.S4], (R10)
	ADD  R11, R10, R10
	VST1 [V20.S4, V21.S4, V22.S4, V23.S4], (R10)
	RET
