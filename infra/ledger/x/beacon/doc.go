// Package beacon is the chain's source of randomness: one value of 32 bytes per
// height, which the validators make together and nobody knows beforehand.
//
// Start with [NewKeeper] and [NewAppModule]. Other modules read values by
// [Keeper.At], and draw lots that somebody would like to influence by
// [Keeper.Draw]. The application calls [Keeper.Extend] when it signs a block and
// [Keeper.Step] when it executes one.
//
// Guarantees: a value is computed from VRF proofs that every validator checks; a
// height to which too few contributed has none and says so; no missing, late or
// false contribution is ever an error of the chain. What a coalition of
// validators can bias is in spec/beacon.md.
package beacon
