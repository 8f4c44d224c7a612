// Package model keeps the published models: who may be paid when one answers.
//
// Start with [NewKeeper] and [NewAppModule]; other modules read models through
// [Keeper.Model].
//
// Guarantees: an id and a name (letter case aside) are given once, first come,
// and nothing of a published model ever changes but its lineage shares, which
// the publisher may replace; a parent exists before its child, so that lineage
// has no cycles and a bounded depth; each list of shares is empty or sums to
// [Points].
package model
