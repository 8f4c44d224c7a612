package model

import (
	"maps"
	"slices"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

// family is what all models of one general.architecture have in common. Together
// with the numbers in a file's header it yields the [config] that the forward
// pass executes; a new architecture is an entry in the table below, unless it
// needs an operator that is not there yet.
type family struct {
	rope        spec.RoPEStyle
	biases      presence // of query, key and value
	headNorms   bool     // each head of query and key is normalised before its rotation
	outputNorms bool     // what attention and feed-forward add is normalised first
	gelu        bool     // the gate goes through GELU, not SiLU
	scaledInput bool     // embeddings are multiplied by the square root of the width
	gateInUp    bool     // ffn_up holds the rows of gate and up
	ropeFreqs   bool     // frequency factors in rope_freqs
	longFactors bool     // frequency factors in rope_factors_long and rope_factors_short

	windowed  bool    // layers may have a sliding window
	pattern   int     // every pattern-th layer has none; 0: all have it
	window    int     // in force where the file names none
	localBase float32 // RoPE base of the layers with a window, unscaled; 0: as all others

	capsScores, capsLogits bool // where the file says so
	queryScale             bool // the scale of scores may be set
	wideScaleLayers        int  // models of that many layers scale by width/heads instead of the head's size

	experts      presence
	normalises   bool // the weights of the chosen experts sum to 1
	sharedExpert bool // one expert answers always, through a gate of its own
}

// presence says whether a part of a model is there.
type presence int

const (
	never presence = iota
	optional
	always
)

var families = map[string]family{
	"llama":    {rope: spec.RoPENorm, biases: optional, ropeFreqs: true, windowed: true, experts: optional, normalises: true},
	"qwen2":    {rope: spec.RoPENeoX, biases: always},
	"qwen2moe": {rope: spec.RoPENeoX, biases: always, experts: always, sharedExpert: true},
	"qwen3":    {rope: spec.RoPENeoX, headNorms: true},
	"qwen3moe": {rope: spec.RoPENeoX, headNorms: true, experts: always, normalises: true},
	"gemma":    {rope: spec.RoPENeoX, gelu: true, scaledInput: true, queryScale: true},
	"gemma2": {rope: spec.RoPENeoX, gelu: true, scaledInput: true, outputNorms: true, windowed: true, pattern: 2, window: 4096,
		capsScores: true, capsLogits: true, queryScale: true, wideScaleLayers: 46},
	"gemma3": {rope: spec.RoPENeoX, gelu: true, scaledInput: true, outputNorms: true, headNorms: true, windowed: true, pattern: 6, localBase: 10000,
		capsLogits: true, queryScale: true, wideScaleLayers: 62},
	"phi3": {rope: spec.RoPENeoX, gateInUp: true, longFactors: true, windowed: true},
}

// Architectures lists the values of general.architecture that [Open] accepts.
var Architectures = slices.Sorted(maps.Keys(families))
