// Package payment keeps the payment channels: money that a payer locks for one
// provider, paid out against signed cumulative vouchers, and the split of every
// claim among provider, model lineage, data and protocol (spec/payment.md).
//
// Start with [NewKeeper] and [NewAppModule].
//
// Guarantees: the module account holds exactly the sum of deposit - claimed
// over all channels that are not closed; no channel pays more than its deposit;
// every akoin claimed goes to an account, to the treasury or is burned; money is
// never stuck behind somebody's silence, because a channel closes by itself at
// its expiry or at the end of its challenge window; which of claim and closing
// wins depends on the block's time only, never on how long the queue is; a
// closed channel stays known, so that its vouchers are never good again.
package payment
