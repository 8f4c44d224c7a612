// Package chat renders conversations into prompts by the chat template that a
// GGUF file carries: the subset of Jinja which models' templates use, with the
// settings of Hugging Face's apply_chat_template (trim_blocks, lstrip_blocks,
// raise_exception, strftime_now, loop controls).
//
// Start with [New] and call [Template.Tokens], or [Template.Render] for the
// text. A file without a template gets ChatML when its vocabulary has the
// tokens for it, and otherwise a plain transcript ([Template.Origin] says which).
//
// Guarantees: a template that cannot be parsed, or that uses something not
// implemented, is an error of New, not a wrong prompt; rendering is bounded in
// steps, depth and output, reads nothing but its arguments, and never panics.
package chat
