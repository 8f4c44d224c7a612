// Package market keeps the providers: their bonds, the libp2p identities bound
// to their accounts, and what they ask for which model.
//
// Start with [NewKeeper] and [NewAppModule]. x/payment and x/verify report what
// a provider earned and served through [Keeper.Earn] and
// [Keeper.AddServed].
//
// Guarantees: the module account holds exactly the bonds and pending
// unbondings; a peer id is bound to one account and only by a signature of its
// own key; offers exist only for published models and only while the bond is
// at least the minimum; the work at the end of a block is bounded.
package market
