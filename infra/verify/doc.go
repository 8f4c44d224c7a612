// Package verify makes answers provable and checks them: seeds and receipts, both
// sides' evidence, receipt batches on chain, and re-execution.
//
// Providers start with [OpenNotary], consumers with [OpenArchive],
// auditors with [Parse] and then [Check], which needs no model, or [Verify].
//
// Guarantees: what [Notary.Seal] and [Archive.Put] return is on disk; a batch of
// receipts is committed on chain exactly once whatever kills the process; and
// [Verify] reports Matches only when every signature, hash and seed fits and the
// engine's own answer equals the claimed one token by token, in its boundary
// root, its length and its end. Only an answer that says it was cancelled may
// end early. spec/receipt.md is the same in prose.
package verify
