// Package convert makes GGUF files out of other model files: of GGUF files in
// other types, and of folders in the layout of Hugging Face (config.json,
// tokenizer.json, *.safetensors).
//
// Start with [Quantize] and [Import]. Both write the result by way of a
// temporary file, so that no half model is left behind, and stream: memory is
// bounded by a few rows of the largest tensor and the tokenizer.
//
// The guarantee: the same input gives the same bytes on every machine. What the
// engine would not compute exactly as the source means it is refused by name; a
// file's sizes and offsets are checked before they are used.
package convert
