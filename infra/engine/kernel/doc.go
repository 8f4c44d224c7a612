// Package kernel holds the engine's fast operators: packed weights, quantised
// activations, matrix products, attention and the small vector operations, on
// a pool of worker threads.
//
// Start with [NewPool] and [NewMatrix]; a layer quantises its input once with
// [Activations.Set] and multiplies by any number of matrices with [Linear].
//
// The guarantee: every result equals package spec's in every bit, whatever the
// number of threads, the number of tokens in a call and the instruction set.
// On amd64 with AVX2 and F16C and on arm64 generated assembly runs, elsewhere
// portable Go. [InstructionSet] says which; [InstructionVariable] chooses.
//
// Lengths and strides count float32 elements. Functions panic, like slices do,
// when a slice is shorter than its stated shape.
package kernel
