// Package verify keeps what providers committed to: one Merkle root per
// interval over the ids of the receipts that they signed.
//
// Start with [NewKeeper] and [NewAppModule].
//
// Guarantees: only registered providers commit; the sequence of a provider is
// 1, 2, 3, ... without gaps; a committed batch never changes.
package verify
