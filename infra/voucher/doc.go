// Package voucher is the signature arithmetic of payment: EIP-712 channel ids
// and voucher digests exactly as x402's `batch-settlement` scheme defines them,
// and recoverable secp256k1 signatures over any 32-byte digest.
//
// Start with [NewDomain] for the chain's EVM id; [Sign] and [Verify] then make
// and check vouchers, [Recover] answers who signed a digest, and [Key] signs
// with 32 raw bytes.
//
// Guarantees: every function is pure and deterministic, so that the ledger, the
// provider and the consumer compute the same bytes; a signature has exactly one
// accepted form (v 27 or 28, s in the lower half of the order), so nobody can
// alter one that they did not make. The vectors in spec/vectors/voucher.json
// come from the stock client.
package voucher
