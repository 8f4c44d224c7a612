// Package compute is the provider's worker: it admits requests, queues them,
// runs them through an engine in one continuous batch, streams the tokens, takes
// payment and seals a receipt.
//
// Start with [New], hand the [Worker] to the transport as its handler, and end
// with [Worker.Drain]. A back end is any [core.Engine].
//
// Guarantees: a request is refused with an error of its own before any work is
// spent on it. A sequence that waits for its consumer, or for payment, waits
// alone; the others go on. Cancelling stops work within one engine step and
// bills only tokens that were delivered. The prompt is charged only with the
// end of an answer, whose receipt is on disk before the consumer hears of it.
// An answer that the worker can't end costs its delivered tokens and nothing
// more.
package compute
