// Package architecture reads from a model file's header what the model computes
// (spec/architectures.md). The engine that runs a model and the rules that judge
// its answers both follow this one reading.
//
// Start with [Read], which returns a [Config]; family.go is the place to start
// adding an architecture.
//
// The guarantee: a header with a key that could change the computation, and that
// nobody here accounts for, is refused by name. Nothing depends on the machine,
// so validators may rely on it.
package architecture
