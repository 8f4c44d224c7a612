package model

import (
	"slices"

	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/token"
)

// Description is what a model file's header says about the model.
type Description struct {
	Architecture string `json:"architecture"`
	Layers       int    `json:"layers"`
	Width        int    `json:"width"`
	Hidden       int    `json:"hidden"`   // of a feed-forward layer, or of each expert
	Heads        int    `json:"heads"`    // of queries
	KVHeads      int    `json:"kv_heads"` // of keys and values
	HeadDim      int    `json:"head_dim"`
	Context      int    `json:"context"`
	Window       int    `json:"window,omitempty"`        // positions that layers with a window see
	WindowLayers int    `json:"window_layers,omitempty"` // how many have one
	Experts      int    `json:"experts,omitempty"`
	ExpertsUsed  int    `json:"experts_used,omitempty"` // per token
	Vocabulary   int    `json:"vocabulary"`
	Tokenizer    string `json:"tokenizer"`
	Template     bool   `json:"chat_template"`
	Parameters   uint64 `json:"parameters"`
}

// Describe reads a file's header and checks, without reading its weights, that
// [Open] would find all it needs and nothing that it does not know.
func Describe(f *gguf.File) (*Description, error) {
	c, err := readConfig(f.Metadata)
	if err != nil {
		return nil, err
	}
	t, err := token.New(f.Metadata)
	if err != nil {
		return nil, err
	}
	w, err := load(&storage{file: f, dry: true}, c, t.Size())
	if err != nil {
		return nil, err
	}
	d := &Description{Architecture: c.Architecture, Layers: c.Layers, Width: c.Width, Hidden: c.Hidden, Heads: c.Heads, KVHeads: c.KVHeads,
		HeadDim: c.HeadDim, Context: c.Context, Window: slices.Max(c.Windows), Experts: c.Experts.Count, ExpertsUsed: c.Experts.Used,
		Vocabulary: t.Size(), Parameters: w.parameters, Template: f.Has("tokenizer.chat_template")}
	if d.Experts > 0 {
		d.Hidden = c.Experts.Hidden
	}
	for _, window := range c.Windows {
		if window > 0 {
			d.WindowLayers++
		}
	}
	d.Tokenizer, _ = f.Text("tokenizer.ggml.model")
	if pre, err := f.Text("tokenizer.ggml.pre"); err == nil {
		d.Tokenizer += " (" + pre + ")"
	}
	return d, nil
}
