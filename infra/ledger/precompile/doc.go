// Package precompile shows two of the chain's modules to the EVM: the coin as an
// ERC-20 with EIP-3009 authorizations ([Token]), and the payment channels as the
// contract of x402's batch-settlement scheme ([Channels]).
//
// Both translate calls of a contract's interface to calls of a keeper; every rule
// is the keeper's. Start with [NewToken] and [NewChannels], and name both
// addresses among the EVM's active precompiles.
//
// Guarantees: a call that fails reverts with the keeper's reason and moves
// nothing; gas is charged for stores and signatures before they are used; no
// contract keeps money of its own, and value sent along is refused.
package precompile
