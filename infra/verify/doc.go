// Package verify makes answers provable and checks them: the provider's VRF and
// receipts, both sides' evidence, receipt batches on chain, and re-execution.
//
// Providers start with [OpenNotary], consumers with [OpenArchive], auditors with
// [Parse] and [Verify]. Guarantee: what [Notary.Seal] and [Archive.Put] return
// is on disk; a batch of receipts is committed on chain exactly once whatever
// kills the process; and [Verify] reports Matches only when every signature,
// hash and seed fits and the engine's own answer equals the claimed one token
// by token, in its length, its end and its boundary root (spec/receipt.md).
package verify
