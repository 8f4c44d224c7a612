// Package gateway lets an application use the network through the APIs of
// OpenAI, Anthropic and Ollama without knowing that there is a network: it turns
// a call into token ids, picks a provider, pays it by the token, moves to another
// one when it fails, and keeps the receipt.
//
// Start with [New] and mount [Gateway.Handler]. What every API's request comes to
// is a plan (plan.go); an answer's life is [Gateway.Answer] in answer.go; how a
// provider is chosen is in router.go and, as the caller wishes, routing.go. How an
// API differs from the others is a dialect (dialect.go) and a shape (shape.go).
//
// Guarantees: a call is answered completely, or with an error in its API's own
// shape, never with a silent truncation; every delivered token is paid exactly
// once; text already streamed is never repeated or lost when a provider dies; a
// client that goes away stops the work and the bill.
package gateway
