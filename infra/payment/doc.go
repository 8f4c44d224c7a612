// Package payment plays both ends of a payment channel: the consumer's [Purse],
// which opens channels and signs vouchers, and the provider's [Till], which
// admits requests, keeps the vouchers and claims them on chain.
//
// Start with [OpenPurse] in a gateway and [OpenTill] in a provider.
//
// Guarantees: a voucher leaves the purse only after its amount is on disk, so
// that a killed process never signs less than it signed before; the purse never
// signs above a channel's deposit nor beyond what a request reserved; a voucher
// is on disk when [Till.Accept] returns; a request id is served once; and debt
// that a request leaves behind bars its channel until it is paid.
package payment
