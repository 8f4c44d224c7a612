// Package packed keeps models on disk as the kernels want them, so that a model
// that was opened before starts without reading its file again.
//
// Start with [Identify], which names a model file as it is now, and [Open],
// which finds what was kept for it. [Create] keeps a model: add every matrix,
// then commit.
//
// A kept model is derived data and belongs to this machine's owner: it holds the
// packed matrices and the model's root as this machine computed them. Guarantees:
// a file that is cut off, damaged, of another layout, of another user or of
// another state of the model is never used: what the header says is checked when
// it is opened, the matrices by a checksum when they are read. Files appear under
// their names only when they are complete and on disk. It does not guard against
// somebody who can write as the same user; `koinon model inspect` computes a
// root from the model file itself.
package packed
