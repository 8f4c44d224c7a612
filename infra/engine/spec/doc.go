// Package spec is the canonical numerics, semantics version 1, in portable Go:
// the definition of every operator of the engine, against which its fast
// kernels and anybody else's are held.
//
// Start with the operator's file: one file per operator, whose comment gives
// formula, shapes, order of evaluation and edge cases. spec/numerics.md says
// the same in prose for implementers in other languages, and
// spec/vectors/numerics.json holds digests to check against.
//
// The guarantee: each function's result is a function of its arguments alone,
// equal in every bit on every Go target. Arithmetic is IEEE-754 binary32,
// rounded to nearest even, subnormals kept. Every product that feeds a sum is
// wrapped in a float32 conversion, which forbids the compiler to fuse it. From
// package math only Sqrt (correctly rounded by definition), the bit casts and
// RoundToEven are used. There is no assembly, goroutine, map or clock.
//
// # Invalid values
//
// NaN and Inf are not numbers here. An operator given one returns some value
// of the same class on every machine (which NaN is unspecified), and an
// evaluation is invalid when a boundary value (residual stream, K row, V row)
// or a logit is not finite: see [Finite]. No finite number is ever reported
// for an invalid evaluation.
//
// # Long sums
//
// A sum over columns or positions is sequential, so it splits anywhere a step
// function allows: acc = Step(acc, chunk), chunk after chunk, equals the whole.
package spec
