// Package core is Koinon's vocabulary: the domain's types and the service
// interfaces through which the layers meet, and nothing else. It imports only
// the standard library, so that any program can use it without the chain's
// dependencies.
//
// Start with [Request], the signed order for an answer, and follow it: a
// [Provider] streams [Chunk]s back, the consumer pays with [Voucher]s from a
// [Channel], and a [Receipt] makes the whole exchange provable.
//
// Guarantees: every value that is signed or committed on chain has exactly one
// encoding, given by its Digest method and published in spec/; amounts are
// exact integers; no type here holds a lock, a goroutine or a clock.
package core
