// Package verify keeps what providers committed to, one Merkle root per interval
// over the ids of the receipts that they signed, and judges disputes about it
// (spec/verification.md).
//
// Start with [NewKeeper] and [NewAppModule]; disputes.go has the life of a
// dispute. The rules of the game itself are package referee's.
//
// Guarantees: a batch never changes; a dispute ends, since every move has a
// deadline and a game has a last step; money is conserved in every path; the
// work of a block is bounded by parameters, and a step's is charged before it
// is done.
package verify
