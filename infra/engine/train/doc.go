// Package train trains Llama-architecture language models in the engine's
// house: RMSNorm, rotary positions (the Llama style of GGUF files), grouped
// query attention, SwiGLU, tied embeddings; AdamW with clipping, warm-up and a
// cosine schedule.
//
// Start with [Run]. Its result is a function of configuration and corpus alone:
// the same bytes on every architecture, instruction set and number of threads,
// so that a training step can be audited like an answer. Arithmetic is
// float32, every product rounded before it is added, every sum in a stated
// order; exponential, square root and rotary table are those of package spec.
// spec/training.md states the rules, spec/vectors/training.json has digests to
// check against.
package train
