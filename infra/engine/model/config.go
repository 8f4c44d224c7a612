package model

import (
	"fmt"
	"slices"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// Architectures lists the values of general.architecture that [Open] accepts.
var Architectures = []string{"llama", "qwen2"}

// config are a model's hyperparameters.
type config struct {
	architecture string
	layers       int
	width        int // residual stream
	hidden       int // feed-forward
	heads        int
	kvHeads      int
	headDim      int
	context      int
	eps          float32
	rope         spec.RoPE
}

func (c *config) qWidth() int  { return c.heads * c.headDim }
func (c *config) kvWidth() int { return c.kvHeads * c.headDim }

// Sizes beyond which a file is not a model that this engine could run.
const (
	maxLayers  = 1 << 10
	maxWidth   = 1 << 17
	maxHidden  = 1 << 19
	maxHeads   = 1 << 10
	maxHeadDim = 1 << 10
)

// reader reads required numbers and remembers the first failure.
type reader struct {
	m    gguf.Metadata
	arch string
	err  error
}

func (r *reader) key(name string) string { return r.arch + "." + name }

// size reads a number from 1 to most; a missing one becomes fallback unless
// that is 0.
func (r *reader) size(name string, most, fallback int) int {
	n, err := r.m.Int(r.key(name))
	if fallback > 0 {
		n, err = gguf.Or(n, err)(fallback)
	}
	if err == nil && (n < 1 || n > most) {
		err = fmt.Errorf("%s is %d, possible are 1 to %d", r.key(name), n, most)
	}
	r.fail(err)
	return n
}

func (r *reader) float(name string, fallback float64) float32 {
	v, err := r.m.Float(r.key(name))
	if fallback > 0 {
		v, err = gguf.Or(v, err)(fallback)
	}
	if err == nil && !(v > 0 && v < 1e30) {
		err = fmt.Errorf("%s is %v, it must be a positive number", r.key(name), v)
	}
	r.fail(err)
	return float32(v)
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func readConfig(m gguf.Metadata) (*config, error) {
	arch, err := m.Text("general.architecture")
	if err != nil {
		return nil, err
	}
	if !slices.Contains(Architectures, arch) {
		return nil, &core.Error{Code: core.CodeInvalid,
			Message: fmt.Sprintf("the architecture %.40q is not supported", arch),
			Next:    fmt.Sprintf("use a model of one of %q", Architectures)}
	}
	r := &reader{m: m, arch: arch}
	c := &config{architecture: arch}
	c.layers = r.size("block_count", maxLayers, 0)
	c.width = r.size("embedding_length", maxWidth, 0)
	c.hidden = r.size("feed_forward_length", maxHidden, 0)
	c.context = r.size("context_length", 1<<30, 0)
	c.heads = r.size("attention.head_count", maxHeads, 0)
	c.kvHeads = r.size("attention.head_count_kv", maxHeads, max(1, c.heads))
	c.eps = r.float("attention.layer_norm_rms_epsilon", 0)
	if r.err != nil {
		return nil, r.err
	}
	c.readHeads(r)
	c.readRoPE(r)
	c.refuseExtras(r)
	return c, r.err
}

func (c *config) readHeads(r *reader) {
	if c.heads%c.kvHeads != 0 {
		r.fail(fmt.Errorf("%d query heads cannot share %d key-value heads", c.heads, c.kvHeads))
	}
	if c.width%c.heads != 0 && !r.m.Has(r.key("attention.key_length")) {
		r.fail(fmt.Errorf("the width %d does not divide into %d heads", c.width, c.heads))
	}
	c.headDim = r.size("attention.key_length", maxHeadDim, max(1, c.width/c.heads))
	if v := r.size("attention.value_length", maxHeadDim, c.headDim); v != c.headDim {
		r.fail(fmt.Errorf("keys of length %d with values of length %d are not supported", c.headDim, v))
	}
}

func (c *config) readRoPE(r *reader) {
	c.rope = spec.RoPE{Style: spec.RoPENorm, Dim: r.size("rope.dimension_count", maxHeadDim, c.headDim),
		Base: r.float("rope.freq_base", 10000)}
	if c.architecture == "qwen2" {
		c.rope.Style = spec.RoPENeoX
	}
	if c.rope.Dim > c.headDim || c.rope.Dim%2 != 0 {
		r.fail(fmt.Errorf("%d rotated elements do not fit heads of %d", c.rope.Dim, c.headDim))
	}
	kind, err := gguf.Or(r.m.Text(r.key("rope.scaling.type")))("none")
	r.fail(err)
	factor := r.float("rope.scaling.factor", 1)
	if r.m.Has(r.key("rope.scale_linear")) {
		kind, factor = "linear", r.float("rope.scale_linear", 1)
	}
	switch kind {
	case "none", "":
	case "linear":
		c.rope.Scale = 1 / factor
	default:
		r.fail(fmt.Errorf("the position scaling %.40q is not supported", kind))
	}
}

// refuseExtras refuses variants of the architectures that would compute
// something else.
func (c *config) refuseExtras(r *reader) {
	if n, err := gguf.Or(r.m.Int(r.key("expert_count")))(0); err != nil || n != 0 {
		r.fail(fmt.Errorf("mixtures of experts are not supported (%s = %d)", r.key("expert_count"), n))
	}
	window, err := gguf.Or(r.m.Int(r.key("attention.sliding_window")))(0)
	r.fail(err)
	if window > 0 {
		// Within the window, sliding attention is full attention.
		c.context = min(c.context, window)
	}
	for _, key := range []string{"attention.logit_softcapping", "attn_logit_softcapping", "final_logit_softcapping",
		"logit_scale", "embedding_scale", "residual_scale", "attention.scale", "attention.max_alibi_bias", "attention.clamp_kqv"} {
		if r.m.Has(r.key(key)) {
			r.fail(fmt.Errorf("%s is not supported", r.key(key)))
		}
	}
	if causal, err := gguf.Or(r.m.Bool(r.key("attention.causal")))(true); err != nil || !causal {
		r.fail(fmt.Errorf("attention that is not causal is not supported"))
	}
}
