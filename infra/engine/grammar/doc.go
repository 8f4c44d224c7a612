// Package grammar keeps answers within a language: it says which tokens may come
// next so that the text stays the beginning of a sentence of a grammar
// (spec/grammar.md).
//
// Start with [NewCache] over a [Vocabulary]; [Cache.Machine] compiles a
// constraint, and from [Machine.Start] on, [Machine.Next] follows the answer
// token by token while [Machine.Mask] gives the tokens allowed. [FromSchema]
// writes the grammar of a JSON Schema, [JSONObject] that of any JSON object.
//
// The text of a grammar is compiled to a pushdown automaton over bytes. Its
// states are sets of stacks, kept as graphs in which equal parts are one, and
// determinised as far as answers reach. A state's mask comes from one walk over
// the tokens as a trie and is kept, for all requests with the same grammar.
//
// Guarantees: masks are a function of constraint and vocabulary; memory and work
// are bounded for any grammar, and the bounds themselves depend on nothing that
// is cached. What cannot be compiled or honoured is refused with the place and
// the reason.
package grammar
