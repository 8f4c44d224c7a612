// Package referee holds the rules of a dispute (spec/verification.md): what may
// be claimed, whose turn it is, what each message must show, and the single
// step at the end that decides.
//
// Start with [Admit], which reads a model's shape from what its root commits
// to, and [Open], which starts a game from a receipt; [State.Apply] takes one
// move after the other. State and moves have one encoding each, [Encode].
//
// Guarantees: everything is a function of its arguments, computed by package
// spec and integers alone, without clock, randomness, goroutine or the order
// of a map; a move that does not hold is an error and changes nothing; memory
// and work are bounded by the move's length and [State.Work], known before.
package referee
