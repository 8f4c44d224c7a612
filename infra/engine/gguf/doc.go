// Package gguf reads and writes GGUF model files and computes what names them
// on the network: the model root and the tokenizer hash (spec/model.md).
//
// Start with [Open], which maps a file and parses its header in milliseconds;
// then ask the file's [Metadata] for typed values, [File.Tensor] for the index,
// [File.Data] for bytes and [Root] for the model's identity. [Builder] writes.
//
// Guarantees: a hostile file cannot make the reader panic, read outside the
// file or allocate more than a small multiple of its header; every tensor that
// Open lists lies inside the file, is aligned and overlaps no other. Writing
// and quantising are deterministic: the same input gives the same bytes on
// every machine.
package gguf
