// Package trial tries to get false answers past verification, and true ones
// convicted, at random places and many times.
//
// Start with [Run]. Answers come from the built-in model; honest ones are
// verified under other threads and chunks, forged ones by everything that a
// stranger would check. Disputes, about that model and about small random ones of
// every architecture in turn, are played to their end through the rules that the
// chain applies.
package trial
