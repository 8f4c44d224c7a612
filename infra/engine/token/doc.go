// Package token turns text into a model's tokens and tokens back into text, as
// a GGUF file's metadata define it: byte-level BPE ("gpt2") with the
// pre-tokenizers of GPT-2, Llama 3, Qwen 2 and SmolLM, and SentencePiece BPE
// ("llama").
//
// Start with [New]; use [Tokenizer.Encode] for prompts and a [Decoder] for
// streamed answers. [TrainBPE] makes a vocabulary for a new model.
//
// Guarantees: a tokenizer is immutable and safe for concurrent use; encoding
// takes O(n log n) time for every text and vocabulary; text never yields a
// control token unless [Options.ParseSpecial] asks for it; with a byte-level
// vocabulary, decoding an encoded text gives the same bytes, UTF-8 or not.
// Tokenizer models and pre-tokenizers that are not implemented are refused by
// name rather than approximated.
package token
