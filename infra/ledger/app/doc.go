// Package app is the chain's state machine: the Cosmos SDK's modules, an EVM
// that is active from block 1, and Koinon's own modules, wired by hand.
//
// Start with [New], which opens the state in a database, and [NewGenesis],
// which writes the first state of a chain. Consensus, ports and files are not
// its business: see the packages fullnode and localnet beside it.
//
// Guarantees: the same blocks give the same state and the same app hash on
// every machine; [App.CheckInvariants] holds after every block; a failure to
// start is an error, never a panic.
package app
