package architecture

import (
	"maps"
	"slices"

	"github.com/koinon-network/koinon/infra/engine/spec"
)

// Family is what all models of one general.architecture have in common. Together
// with the numbers in a file's header it yields a [Config]; a new architecture is
// an entry in the table below, unless it needs an operator that is not there yet.
type Family struct {
	RoPE        spec.RoPEStyle
	Biases      Presence // of query, key and value
	HeadNorms   bool     // each head of query and key is normalised before its rotation
	OutputNorms bool     // what attention and feed-forward add is normalised first
	GELU        bool     // the gate goes through GELU, not SiLU
	ScaledInput bool     // embeddings are multiplied by the square root of the width
	GateInUp    bool     // ffn_up holds the rows of gate and up
	RoPEFreqs   bool     // frequency factors in rope_freqs
	LongFactors bool     // frequency factors in rope_factors_long and rope_factors_short

	windowed  bool    // layers may have a sliding window
	pattern   int     // every pattern-th layer has none; 0: all have it
	window    int     // in force where the file names none
	localBase float32 // RoPE base of the layers with a window, unscaled; 0: as all others

	capsScores, capsLogits bool // where the file says so
	queryScale             bool // the scale of scores may be set
	wideScaleLayers        int  // models of that many layers scale by width/heads instead of the head's size

	Experts      Presence
	normalises   bool // the weights of the chosen experts sum to 1
	SharedExpert bool // one expert answers always, through a gate of its own
}

// Presence says whether a part of a model is there.
type Presence int

// A part of a model is never there, in some files of the family, or always.
const (
	Never Presence = iota
	Optional
	Always
)

// Families are those of spec/architectures.md, by general.architecture.
var Families = map[string]Family{
	"llama":    {RoPE: spec.RoPENorm, Biases: Optional, RoPEFreqs: true, windowed: true, Experts: Optional, normalises: true},
	"qwen2":    {RoPE: spec.RoPENeoX, Biases: Always},
	"qwen2moe": {RoPE: spec.RoPENeoX, Biases: Always, Experts: Always, SharedExpert: true},
	"qwen3":    {RoPE: spec.RoPENeoX, HeadNorms: true},
	"qwen3moe": {RoPE: spec.RoPENeoX, HeadNorms: true, Experts: Always, normalises: true},
	"gemma":    {RoPE: spec.RoPENeoX, GELU: true, ScaledInput: true, queryScale: true},
	"gemma2": {RoPE: spec.RoPENeoX, GELU: true, ScaledInput: true, OutputNorms: true, windowed: true, pattern: 2, window: 4096,
		capsScores: true, capsLogits: true, queryScale: true, wideScaleLayers: 46},
	"gemma3": {RoPE: spec.RoPENeoX, GELU: true, ScaledInput: true, OutputNorms: true, HeadNorms: true, windowed: true, pattern: 6, localBase: 10000,
		capsLogits: true, queryScale: true, wideScaleLayers: 62},
	"phi3": {RoPE: spec.RoPENeoX, GateInUp: true, LongFactors: true, windowed: true},
}

// Names lists the values of general.architecture that [Read] accepts.
var Names = slices.Sorted(maps.Keys(Families))
