// Package token shows the chain's coin as a token that others may move with the
// owner's signature: allowances (ERC-20) and authorizations that anybody may
// bring on chain, once (EIP-3009). Balances are the bank's; this module keeps
// only what was allowed and which nonces are used (spec/payment.md).
//
// Start with [NewKeeper] and [NewAppModule]; infra/ledger/precompile shows the
// keeper to the EVM.
//
// Guarantees: money moves only by its owner's call or signature for this chain,
// this coin, this amount, recipient and time; a nonce works once, also when it
// was cancelled; a refusal changes nothing, a nonce included.
package token
