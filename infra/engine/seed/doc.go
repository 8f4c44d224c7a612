// Package seed is the model that comes with Koinon: koinon-seed, a very small
// language model trained by package train on text that this package generates
// from the project's own documentation (facts.txt). It demonstrates that every
// part is real and answers questions about Koinon; it knows nothing else.
//
// [Bytes] is the embedded GGUF file and [Root] its name on the network. [Train]
// makes the file again: the same bytes on every machine, whatever its
// architecture and number of threads. [Examine] measures a model on questions
// that training never showed.
package seed
