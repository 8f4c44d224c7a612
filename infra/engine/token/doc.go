// Package token turns text into a model's tokens and tokens back into text, as
// a GGUF file's metadata define it: byte-level BPE ("gpt2") with the
// pre-tokenizers of GPT-2, GPT-4o, Llama 3, Tekken, Qwen 2 and 3.5, SmolLM,
// Falcon, DeepSeek and Bloom and of those that share theirs, and SentencePiece
// BPE ("llama").
//
// Start with [New]; use [Tokenizer.Encode] for prompts and a [Decoder] for
// streamed answers. [TrainBPE] makes a vocabulary for a new model.
//
// Guarantees: a tokenizer is immutable and safe for concurrent use; encoding
// takes O(n log n) time for every text and vocabulary; text never yields a
// control token unless [Options.ParseSpecial] asks for it; with a byte-level
// vocabulary, decoding an encoded text gives the same bytes, UTF-8 or not.
// Tokens equal llama.cpp's except where it leaves the models' own tokenizers:
// plain text never becomes control, unknown or byte tokens that it spells; of
// special tokens that overlap the leftmost counts; bytes that are not UTF-8 stay
// those bytes; Tekken and GPT-4o tell case and marks apart in every script; white
// space beyond ASCII is itself in DeepSeek's sets.
// Tokenizer models and pre-tokenizers that are not implemented are refused by
// name rather than approximated.
package token
