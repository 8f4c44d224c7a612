package architecture

import (
	"fmt"
	"strings"

	"github.com/koinon-network/koinon/core"
	"github.com/koinon-network/koinon/infra/engine/gguf"
	"github.com/koinon-network/koinon/infra/engine/spec"
)

// Config describes what a model computes, but for its weights.
type Config struct {
	Architecture string
	Family       Family

	Layers          int
	Width           int // residual stream
	Hidden          int // feed-forward
	Heads           int
	KVHeads         int
	HeadDim         int
	Context         int
	OriginalContext int // before it was stretched by LongRoPE
	Eps             float32

	InputScale float32 // of embeddings; 0: none
	ScoreScale float32
	ScoreCap   float32 // 0: none
	LogitCap   float32 // 0: none
	Experts    Experts

	RoPEs   []spec.RoPE // the first is the one that takes factors
	Rotary  []int       // [layer] which of them
	Windows []int       // [layer] how many positions attention sees; 0: all
}

// Experts describes the feed-forward layer of a mixture of experts.
type Experts struct {
	Count, Used  int // Count 0: a plain feed-forward layer
	Hidden       int // of each
	SharedHidden int // of the shared one; 0: none
	Normalised   bool
	Scale        float32
}

// QWidth is the length of a query row.
func (c *Config) QWidth() int { return c.Heads * c.HeadDim }

// KVWidth is the length of a key or value row.
func (c *Config) KVWidth() int { return c.KVHeads * c.HeadDim }

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

// Read reads a header, and refuses by name what no entry of spec/architectures.md
// accounts for.
func Read(m gguf.Metadata) (*Config, error) {
	arch, err := m.Text("general.architecture")
	if err != nil {
		return nil, err
	}
	family, ok := Families[arch]
	if !ok {
		return nil, &core.Error{Code: core.CodeInvalid,
			Message: fmt.Sprintf("the architecture %.40q is not supported", arch),
			Next:    fmt.Sprintf("use a model of one of %q", Names)}
	}
	r := &reader{m: m, arch: arch, known: map[string]bool{}}
	c := &Config{Architecture: arch, Family: family}
	c.Layers = r.size("block_count", maxLayers, 0)
	c.Width = r.size("embedding_length", maxWidth, 0)
	c.Hidden = r.size("feed_forward_length", maxHidden, 0)
	c.Context = r.size("context_length", 1<<30, 0)
	c.Heads = r.size("attention.head_count", maxHeads, 0)
	c.KVHeads = r.size("attention.head_count_kv", maxHeads, max(1, c.Heads))
	c.Eps = r.float("attention.layer_norm_rms_epsilon", 0)
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

func (c *Config) readHeads(r *reader) {
	if c.Heads%c.KVHeads != 0 {
		r.fail(fmt.Errorf("%d query heads cannot share %d key-value heads", c.Heads, c.KVHeads))
	}
	if c.Width%c.Heads != 0 && !r.has("attention.key_length") {
		r.fail(fmt.Errorf("the width %d does not divide into %d heads", c.Width, c.Heads))
	}
	c.HeadDim = r.size("attention.key_length", maxHeadDim, max(1, c.Width/c.Heads))
	if v := r.size("attention.value_length", maxHeadDim, c.HeadDim); v != c.HeadDim {
		r.fail(fmt.Errorf("keys of length %d with values of length %d are not supported", c.HeadDim, v))
	}
	if !r.truth("attention.causal", true) {
		r.fail(fmt.Errorf("attention that is not causal is not supported"))
	}
}

// readScales reads what is multiplied and capped between the layers' products.
func (c *Config) readScales(r *reader) {
	if c.Family.ScaledInput {
		c.InputScale = spec.Sqrt(float32(c.Width))
	}
	size := c.HeadDim
	if c.Layers == c.Family.wideScaleLayers {
		size = c.Width / c.Heads
	}
	c.ScoreScale = spec.AttentionScale(max(1, size))
	if c.Family.queryScale && r.has("attention.scale") {
		c.ScoreScale = r.float("attention.scale", 0)
	}
	if c.Family.capsScores {
		c.ScoreCap = r.optional("attn_logit_softcapping")
	}
	if c.Family.capsLogits {
		c.LogitCap = r.optional("final_logit_softcapping")
	}
}

func (c *Config) readExperts(r *reader) {
	if c.Family.Experts == Never {
		if n := r.count("expert_count"); n != 0 {
			r.fail(fmt.Errorf("mixtures of experts are not supported in %s (%s = %d)", c.Architecture, r.key("expert_count"), n))
		}
		r.count("expert_used_count")
		return
	}
	e := &c.Experts
	e.Count = r.count("expert_count")
	e.Used = r.count("expert_used_count")
	if e.Count == 0 && c.Family.Experts == Optional {
		return
	}
	if e.Count < 1 || e.Count > maxExperts || e.Used < 1 || e.Used > e.Count {
		r.fail(fmt.Errorf("%d of %d experts cannot be used", e.Used, e.Count))
		return
	}
	e.Hidden = r.size("expert_feed_forward_length", maxHidden, c.Hidden)
	if c.Family.SharedExpert {
		e.SharedHidden = r.size("expert_shared_feed_forward_length", maxHidden, c.Hidden)
	}
	e.Normalised = r.truth("expert_weights_norm", c.Family.normalises)
	e.Scale = r.float("expert_weights_scale", 1)
	const softmax = 1
	if kind := r.count("expert_gating_func"); kind != 0 && kind != softmax {
		r.fail(fmt.Errorf("experts gated by the function %d are not supported", kind))
	}
}

func (c *Config) readWindows(r *reader) {
	c.Windows = make([]int, c.Layers)
	if !c.Family.windowed {
		if n := r.count("attention.sliding_window"); n != 0 {
			r.fail(fmt.Errorf("sliding windows are not supported in %s (%s = %d)", c.Architecture, r.key("attention.sliding_window"), n))
		}
		return
	}
	window := c.Family.window
	if r.has("attention.sliding_window") {
		window = r.count("attention.sliding_window")
	}
	local := c.localLayers(r)
	for l := range c.Windows {
		if local(l) {
			c.Windows[l] = window
		}
	}
}

// localLayers tells which layers have a window: all but every n-th one, or those
// that the file lists.
func (c *Config) localLayers(r *reader) func(l int) bool {
	const name = "attention.sliding_window_pattern"
	if list, err := r.m.Bools(r.key(name)); err == nil {
		if len(list) != c.Layers {
			r.fail(fmt.Errorf("%s has %d entries for %d layers", r.key(name), len(list), c.Layers))
			return func(int) bool { return false }
		}
		return func(l int) bool { return list[l] }
	}
	n := c.Family.pattern
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
