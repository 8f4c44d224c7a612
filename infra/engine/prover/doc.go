// Package prover finds the moves of a dispute (spec/verification.md): it
// recomputes what one leaf of an answer follows from and opens whatever package
// referee asks for.
//
// Start with [New] over a model file; [Prover.Admission] shows the model to the
// chain, [Prover.Answer] prepares a receipt's answer, and [Answer.Move] gives the
// next move of either side.
//
// The guarantee: with the true answer, a provider's moves always hold, and a
// challenger's lead to a step that does not, whatever the other side sends.
package prover
