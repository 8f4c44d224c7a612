// Package node wires the parts into roles that a process can hold: validators,
// providers, a gateway with its console.
//
// Start with [StartDevnet], a whole network in one process, or with
// [StartProvider] and [StartGateway] for one role against a running chain.
//
// Guarantees: everything a role has acknowledged survives kill -9 and is there
// at the next start on the same home folder; Close stops in the order in which
// nothing is lost; a home folder serves one process at a time.
package node
