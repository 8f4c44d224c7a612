// Package p2p carries Koinon's exchanges between consumers and providers over
// libp2p: TCP, Noise and yamux, nothing else.
//
// Start with [New], which opens a [Host] under a node's ed25519 key. A provider
// calls [Host.Serve] with its worker; a consumer calls [Host.Client] and uses
// it as a [core.Dialer]. [Host.ServeBlobs] and [Host.FetchBlob] move content
// by its SHA-256, [Host.ServeEvidence] and [Host.FetchEvidence] hand an
// answer's evidence to the consumer who ordered it.
//
// Guarantees: a connection to a provider is a connection to the peer id it
// registered on chain, or none. Every length that a stranger states is bounded
// before memory is spent on it. Everything a provider promises in an exchange
// (VRF proof, chunk signatures, token chain, amounts, receipt) is checked
// before the consumer sees it; a broken promise ends the exchange with an
// error of [core.CodeProvider] that names it. A peer that dies is noticed at
// once, one that hangs within [Config].Silence. The wire format is
// spec/exchange.md.
package p2p
