// Package x402 lets callers without account, key or registration pay for a call
// with their wallet: x402 version 2 with the schemes `exact` (EIP-3009) and
// `batch-settlement` (payment channels, metered), and MPP's `charge` beside it.
//
// Start with [NewPaywall]; a gateway asks [Paywall.Admit] about each call and
// tells the [Bill] what became of it. [Facilitator] checks and settles payments
// for this and other servers over HTTP (/verify, /settle, /supported).
//
// Guarantees: nothing is paid before there is something to give: an answer that
// fails before its first token costs nothing; a payment is refused with the
// standard's own error, and a refusal moves nothing; an authorization buys one
// answer; of a channel never more is claimed than was metered, nor more than its
// payer signed; what was metered is on disk when [Bill.Close] returns.
package x402
