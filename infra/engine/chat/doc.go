// Package chat renders conversations into prompts by the chat template that a
// GGUF file carries: the subset of Jinja which models' templates use, with the
// settings of Hugging Face's apply_chat_template (trim_blocks, lstrip_blocks,
// raise_exception, strftime_now, loop controls).
//
// Start with [New] and call [Template.Tokens], or [Template.Render] for the
// text. A file without a template gets ChatML when its vocabulary has the
// tokens for it, and otherwise a plain transcript ([Template.Origin] says which).
//
// Tools go into a prompt by [Options.Tools], calls and their results by
// [Message]. [Template.Tools] says how the model writes a call: a [ToolParser]
// cuts calls out of a streamed answer, whose text [Template.Decoder] makes;
// [ToolFormat.Forms] describes them to a grammar.
//
// Guarantees: a template that cannot be parsed, or that uses something not
// implemented, is an error of New, not a wrong prompt; so is one that fails on
// a question. Conversations of which it would leave something out are refused by
// Render. Rendering is bounded in steps, depth and output, reads nothing but its
// arguments, and never panics.
package chat
