// Package model runs a transformer from a GGUF file as a function: it
// implements [core.Engine] for the families of [Architectures] on the canonical
// numerics of package spec (spec/architectures.md).
//
// Start with [Open] or [OpenBytes]; then [Model.NewSequence] admits a request
// and [Model.Step] advances any number of sequences together, prompts in chunks
// and answers token by token, in one pass through the weights. [Model.Replay]
// audits an answer. Released sequences leave their keys and values behind for
// later requests with the same beginning.
//
// What a model computes is read from its file's header by package
// architecture into one description, which the loader and the forward pass follow.
//
// The guarantee: a sequence's tokens and boundary leaves depend on its
// [core.SequenceInput] and the model root alone. Chunking, neighbours in the
// batch, threads, the prefix cache, interruption and resumption leave every bit
// as it is. An engine that is not stepped uses no processor time.
package model
