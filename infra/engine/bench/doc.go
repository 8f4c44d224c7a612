// Package bench measures the engine on this machine: how fast it reads prompts
// and writes answers, what share of the memory's bandwidth that is, what the
// trace for receipts costs, how it scales with sequences, how long a model takes
// to open and how much memory it holds.
//
// Start with [Run]. [Prefill] and [Decode] are its stopwatches, for comparisons
// with other engines; [Shape] makes a model file of random weights, since speed
// depends on sizes and formats only; [ReadBandwidth] is what the memory can do.
//
// Figures that are compared are taken in turns, so that a machine that gets
// slower meanwhile slows down both sides, and are medians.
package bench
