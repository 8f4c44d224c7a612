package model

import (
	"fmt"
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/kernel"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// config describes what a model computes, but for its weights: the forward pass
// and the loader follow it and know no architectures by name.
type config struct {
	architecture string
	family       family

	layers          int
	width           int // residual stream
	hidden          int // feed-forward
	heads           int
	kvHeads         int
	headDim         int
	context         int
	originalContext int // before it was stretched by LongRoPE
	eps             float32

	inputScale float32 // of embeddings; 0: none
	scoring    kernel.Scoring
	logitCap   float32 // 0: none
	activation kernel.Activation
	experts    experts

	int8    bool        // keys and values are kept as int8
	ropes   []spec.RoPE // the first is the one that takes factors
	rotary  []int       // [layer] which of them
	windows []int       // [layer] how many positions attention sees; 0: all
}

// experts describes the feed-forward layer of a mixture of experts.
type experts struct {
	count, used  int // count 0: a plain feed-forward layer
	hidden       int // of each
	sharedHidden int // of the shared one; 0: none
	normalised   bool
	scale        float32
}

// semantics is the version of the numerics with its option.
func (c *config) semantics() uint32 {
	if c.int8 {
		return core.SemanticsKV8
	}
	return core.SemanticsV1
}

func (c *config) shape() kernel.KVShape {
	return kernel.KVShape{Heads: c.kvHeads, Dim: c.headDim, Int8: c.int8}
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
	maxExperts = 1 << 10
)

// inert are keys of an architecture that change nothing about its answers:
// pooling_type is about embeddings, and the former context matters to YaRN and
// LongRoPE alone.
var inert = []string{"vocab_size", "tensor_data_layout", "rope.scaling.finetuned", "pooling_type", "rope.scaling.original_context_length"}

func readConfig(m gguf.Metadata) (*config, error) {
	arch, err := m.Text("general.architecture")
	if err != nil {
		return nil, err
	}
	family, ok := families[arch]
	if !ok {
		return nil, &core.Error{Code: core.CodeInvalid,
			Message: fmt.Sprintf("the architecture %.40q is not supported", arch),
			Next:    fmt.Sprintf("use a model of one of %q", Architectures)}
	}
	r := &reader{m: m, arch: arch, known: map[string]bool{}}
	c := &config{architecture: arch, family: family}
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
	c.readScales(r)
	c.readExperts(r)
	c.readWindows(r)
	c.readRoPE(r)
	r.refuseUnknown()
	return c, r.err
}

func (c *config) readHeads(r *reader) {
	if c.heads%c.kvHeads != 0 {
		r.fail(fmt.Errorf("%d query heads cannot share %d key-value heads", c.heads, c.kvHeads))
	}
	if c.width%c.heads != 0 && !r.has("attention.key_length") {
		r.fail(fmt.Errorf("the width %d does not divide into %d heads", c.width, c.heads))
	}
	c.headDim = r.size("attention.key_length", maxHeadDim, max(1, c.width/c.heads))
	if v := r.size("attention.value_length", maxHeadDim, c.headDim); v != c.headDim {
		r.fail(fmt.Errorf("keys of length %d with values of length %d are not supported", c.headDim, v))
	}
	if !r.truth("attention.causal", true) {
		r.fail(fmt.Errorf("attention that is not causal is not supported"))
	}
}

// readScales reads what is multiplied and capped between the layers' products.
func (c *config) readScales(r *reader) {
	c.activation = kernel.SiLUMul
	if c.family.gelu {
		c.activation = kernel.GELUMul
	}
	if c.family.scaledInput {
		c.inputScale = spec.Sqrt(float32(c.width))
	}
	size := c.headDim
	if c.layers == c.family.wideScaleLayers {
		size = c.width / c.heads
	}
	c.scoring.Scale = spec.AttentionScale(max(1, size))
	if c.family.queryScale && r.has("attention.scale") {
		c.scoring.Scale = r.float("attention.scale", 0)
	}
	if c.family.capsScores {
		c.scoring.Cap = r.optional("attn_logit_softcapping")
	}
	if c.family.capsLogits {
		c.logitCap = r.optional("final_logit_softcapping")
	}
}

func (c *config) readExperts(r *reader) {
	if c.family.experts == never {
		if n := r.count("expert_count"); n != 0 {
			r.fail(fmt.Errorf("mixtures of experts are not supported in %s (%s = %d)", c.architecture, r.key("expert_count"), n))
		}
		r.count("expert_used_count")
		return
	}
	e := &c.experts
	e.count = r.count("expert_count")
	e.used = r.count("expert_used_count")
	if e.count == 0 && c.family.experts == optional {
		return
	}
	if e.count < 1 || e.count > maxExperts || e.used < 1 || e.used > e.count {
		r.fail(fmt.Errorf("%d of %d experts cannot be used", e.used, e.count))
		return
	}
	e.hidden = r.size("expert_feed_forward_length", maxHidden, c.hidden)
	if c.family.sharedExpert {
		e.sharedHidden = r.size("expert_shared_feed_forward_length", maxHidden, c.hidden)
	}
	e.normalised = r.truth("expert_weights_norm", c.family.normalises)
	e.scale = r.float("expert_weights_scale", 1)
	const softmax = 1
	if kind := r.count("expert_gating_func"); kind != 0 && kind != softmax {
		r.fail(fmt.Errorf("experts gated by the function %d are not supported", kind))
	}
}

func (c *config) readWindows(r *reader) {
	c.windows = make([]int, c.layers)
	if !c.family.windowed {
		if n := r.count("attention.sliding_window"); n != 0 {
			r.fail(fmt.Errorf("sliding windows are not supported in %s (%s = %d)", c.architecture, r.key("attention.sliding_window"), n))
		}
		return
	}
	window := c.family.window
	if r.has("attention.sliding_window") {
		window = r.count("attention.sliding_window")
	}
	local := c.localLayers(r)
	for l := range c.windows {
		if local(l) {
			c.windows[l] = window
		}
	}
}

// localLayers tells which layers have a window: all but every n-th one, or those
// that the file lists.
func (c *config) localLayers(r *reader) func(l int) bool {
	const name = "attention.sliding_window_pattern"
	if list, err := r.m.Bools(r.key(name)); err == nil {
		if len(list) != c.layers {
			r.fail(fmt.Errorf("%s has %d entries for %d layers", r.key(name), len(list), c.layers))
			return func(int) bool { return false }
		}
		return func(l int) bool { return list[l] }
	}
	n := c.family.pattern
	if r.has(name) {
		n = r.count(name)
	}
	return func(l int) bool { return n == 0 || l%n < n-1 }
}

// reader reads an architecture's keys, notes which it was asked for, and
// remembers the first failure.
type reader struct {
	m     gguf.Metadata
	arch  string
	known map[string]bool
	err   error
}

func (r *reader) key(name string) string {
	key := r.arch + "." + name
	r.known[key] = true
	return key
}

func (r *reader) has(name string) bool { return r.m.Has(r.key(name)) }

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

// count reads a number that may be missing or 0.
func (r *reader) count(name string) int {
	n, err := gguf.Or(r.m.Int(r.key(name)))(0)
	r.fail(err)
	return n
}

// float reads a positive number; a missing one becomes fallback unless that is 0.
func (r *reader) float(name string, fallback float64) float32 {
	v, err := r.m.Float(r.key(name))
	if fallback > 0 {
		v, err = gguf.Or(v, err)(fallback)
	}
	if err == nil && !(v > 1e-30 && v < 1e30) {
		err = fmt.Errorf("%s is %v, it must be a positive number", r.key(name), v)
	}
	r.fail(err)
	return float32(v)
}

// optional reads a positive number that may be missing or 0.
func (r *reader) optional(name string) float32 {
	if v, err := gguf.Or(r.m.Float(r.key(name)))(0); err == nil && v == 0 {
		return 0
	}
	return r.float(name, 0)
}

func (r *reader) truth(name string, fallback bool) bool {
	v, err := gguf.Or(r.m.Bool(r.key(name)))(fallback)
	r.fail(err)
	return v
}

func (r *reader) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

// refuseUnknown refuses a file with a key of the architecture that nobody asked
// for: it would belong to a variant that computes something else.
func (r *reader) refuseUnknown() {
	for _, name := range inert {
		r.key(name)
	}
	for _, key := range r.m.Keys() {
		if strings.HasPrefix(key, r.arch+".") && !r.known[key] {
			r.fail(fmt.Errorf("%s is not supported: it may change what the model computes", key))
		}
	}
}
